"""Critics against textbook code and hand-computed numbers."""

from itertools import product
from typing import Any

import pytest
import torch
from helpers import make_learner, make_spec
from textbook import Bins, Scalar
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div

from torchrl_lite.config import NetConfig
from torchrl_lite.network.build import build_critic
from torchrl_lite.network.critic import Critic

E, T, B = 2, 3, 40
GRID = {"bins": 41, "bound": 5.0}  # a bin width of 1/4, which is exact
KINDS = ("hl_gauss", "two_hot", "c51")
COMBINE = ("min", "mean")


def critic_of(**config: Any) -> Critic:
    torch.manual_seed(0)
    net = NetConfig.model_validate({"hidden_shapes": [8], "critic": config})
    return build_critic(net, make_spec(T), ensemble=E).double()


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def returns(seed: int = 0) -> dict[str, Tensor]:
    """Rewards, discounts (one in four is 0) and bonuses; some targets lie outside the bins."""
    return {
        "rew": 3 * normal(T, B, seed=seed),
        "discount": 0.9 * (normal(T, B, seed=seed + 1) > -0.7).double(),
        "bonus": normal(T, B, seed=seed + 2),
    }


def book_target(book: Scalar, prediction: Tensor, given: dict[str, Tensor]) -> Tensor:
    return torch.stack(
        [
            book.target(list(prediction[:, row]), *(given[name][row] for name in given))
            for row in range(T)
        ]
    )


@pytest.mark.parametrize(("kind", "combine"), list(product(KINDS, COMBINE)))
@pytest.mark.parametrize("grid", [GRID, {"bins": 17, "bound": 8.0}, {"bins": 2, "bound": 1.0}])
def test_a_target_matches_the_textbook(kind: str, combine: str, grid: dict[str, Any]) -> None:
    for sigma in (0.75, 1.5) if kind == "hl_gauss" else (0.75,):
        config = {"kind": kind, "combine": combine, "sigma": sigma, **grid}
        prediction, given = 2 * normal(E, T, B, grid["bins"]), returns()
        mine = critic_of(**config).target(prediction, **given)
        expected = book_target(Bins(**config), prediction, given)
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_cross_entropy_with_the_gradient_of_the_kl_divergence(kind: str) -> None:
    critic = critic_of(kind=kind, **GRID)
    target = critic.target(normal(E, T, B, 41), **returns())
    prediction = (5 * normal(E, T, B, 41, seed=9)).requires_grad_()
    loss = critic.loss(prediction, target)
    assert loss.shape == (E, T)
    for member, row in product(range(E), range(T)):
        own = prediction[member, row]
        torch.testing.assert_close(loss[member, row], cross_entropy(own, target[row]))
        divergence = kl_div(own.log_softmax(-1), target[row], reduction="batchmean")
        (mine,) = torch.autograd.grad(loss[member, row], prediction, retain_graph=True)
        (theirs,) = torch.autograd.grad(divergence, prediction, retain_graph=True)
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_bins_are_not_saved_and_follow_the_critics_dtype() -> None:
    learner = make_learner("sac", make_spec(), net={"critic": {"kind": "hl_gauss", "bins": 5}})
    assert not any("atoms" in name or "edges" in name for name in learner.state_dict())
    assert learner.double().critic.atoms.dtype == torch.float64
    assert learner.critic.edges.tolist() == [-6.25, -3.75, -1.25, 1.25, 3.75, 6.25]


@pytest.mark.parametrize("kind", ["scalar", *KINDS])
def test_non_finite_inputs_give_a_non_finite_loss(kind: str) -> None:
    """The run detects and names it there; a NaN used as an index would raise instead."""
    critic = critic_of(kind=kind, bins=11)
    prediction = normal(E, T, B, 1 if kind == "scalar" else 11)
    for where in ("prediction", "rew", "bonus"):
        given = returns() | {"prediction": prediction.clone()}
        given[where].fill_(torch.nan)
        target = critic.target(given.pop("prediction"), **given)
        assert not critic.loss(prediction, target).isfinite().any()
