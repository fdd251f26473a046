"""The log-density of squashed actions against 50-digit arithmetic."""

from itertools import product

import mpmath
import pytest
import torch
from helpers import make_spec
from torch import Tensor, nn

from torchrl_lite.network.actor import GaussianPolicy, tanh_log_jacobian

MODERATE = [0.0, 1e-8, 1e-3, 0.1, 0.5, 1.0, 2.0, 5.0, 8.0]
FAR = [9.0, 9.99, 10.01, 10.5, 11.0, 12.0, 15.0, 20.0, 40.0]
EXTREME = [100.0, 1e4]
POINTS = [sign * z for z in MODERATE + FAR + EXTREME for sign in (1, -1)]
TASK = torch.zeros(1, dtype=torch.int64)


DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


def exact_log_jacobian(z: float) -> mpmath.mpf:
    """log(1 - tanh(z)^2) = -2 log cosh(z), with all the digits that 1e4 needs."""
    with mpmath.workdps(50):
        return -2 * mpmath.log(mpmath.cosh(mpmath.mpf(z)))


def exact_log_prob(mean: float, log_std: float, noise: float) -> float:
    """Log-density of tanh(u) at u = mean + std * noise, by the change of variables."""
    with mpmath.workdps(50):
        std = mpmath.exp(mpmath.mpf(log_std))
        u = mpmath.mpf(mean) + std * mpmath.mpf(noise)
        normal = -((u - mean) ** 2) / (2 * std**2) - mpmath.log(std * mpmath.sqrt(2 * mpmath.pi))
        return float(normal - exact_log_jacobian(u))


class Constant(nn.Module):
    """A body with the same mean and log standard deviation for every observation."""

    def __init__(self, mean: Tensor, log_std: Tensor) -> None:
        super().__init__()
        self.output = nn.Parameter(torch.cat((mean, log_std), dim=-1))

    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        return self.output.expand(1, *x.shape[1:3], -1)


def policy(mean: list[float], log_std: list[float], dtype: torch.dtype) -> GaussianPolicy:
    body = Constant(torch.tensor(mean, dtype=dtype), torch.tensor(log_std, dtype=dtype))
    spec = make_spec(act_dim=len(mean))
    return GaussianPolicy(body, spec, log_std_min=-20.0, log_std_max=2.0)


def sample(actor: GaussianPolicy, noise: list[float]) -> tuple[Tensor, Tensor]:
    values = torch.tensor(noise, dtype=actor.body.output.dtype)
    return actor.sample(values.new_zeros(1, 1, 5), TASK, values[None, None])


@pytest.mark.parametrize(
    ("dtype", "rel", "near_0"), [(torch.float64, 1e-14, 1e-15), (torch.float32, 4e-7, 4e-7)]
)
def test_the_log_jacobian_is_exact(dtype: torch.dtype, rel: float, near_0: float) -> None:
    for z in POINTS:
        point = torch.tensor(z, dtype=dtype)
        expected = float(exact_log_jacobian(point.item()))
        assert tanh_log_jacobian(point).item() == pytest.approx(expected, rel=rel, abs=near_0), z


@DTYPES
def test_the_log_jacobian_has_the_gradient_minus_two_tanh(dtype: torch.dtype) -> None:
    z = torch.tensor(POINTS, dtype=dtype, requires_grad=True)
    tanh_log_jacobian(z).sum().backward()
    expected = [-2 * mpmath.tanh(mpmath.mpf(value)) for value in z.tolist()]
    tolerance = 4 * torch.finfo(dtype).eps
    for mine, exact in zip(z.grad.tolist(), expected, strict=True):
        assert mine == pytest.approx(float(exact), abs=tolerance)


@DTYPES
def test_log_probabilities_are_exact(dtype: torch.dtype) -> None:
    means, log_stds, noises = (0.3, -3.0, 12.0, -12.0), (-5.0, 0.0, 2.0), (0.0, 0.7, -2.5)
    tolerance = 1e-13 if dtype == torch.float64 else 5e-6
    for mean, log_std, noise in product(means, log_stds, noises):
        actor = policy([mean], [log_std], dtype)
        logp = sample(actor, [noise])[1].item()
        rounded = torch.tensor([mean, log_std, noise], dtype=dtype).tolist()
        assert logp == pytest.approx(exact_log_prob(*rounded), rel=tolerance, abs=tolerance)


@DTYPES
def test_gradients_are_finite_however_far_an_action_saturates(dtype: torch.dtype) -> None:
    for mean in (12.0, -12.0, 50.0, -50.0, 1e4, -1e4):
        for log_std in (-20.0, 0.0, 2.0):
            actor = policy([mean], [log_std], dtype)
            act, logp = sample(actor, [3.0])
            (act.sum() + logp.sum()).backward()
            assert logp.isfinite().all()
            assert actor.body.output.grad.isfinite().all()


@pytest.mark.parametrize(("raw", "clamped"), [(-25.0, -20.0), (3.5, 2.0)])
def test_the_log_standard_deviation_is_clamped(raw: float, clamped: float) -> None:
    actor, same = (policy([0.1], [value], torch.float64) for value in (raw, clamped))
    for mine, theirs in zip(sample(actor, [0.5]), sample(same, [0.5]), strict=True):
        assert torch.equal(mine, theirs)
