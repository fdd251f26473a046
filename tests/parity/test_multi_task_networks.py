"""PaCo, MOORE, FiLM and CARE against textbook code: one member, one task, one state at a time."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import make_learner, make_spec, random_batch
from test_initialisation import assert_uniform
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from torchrl_lite.config import NetConfig
from torchrl_lite.network.build import build
from torchrl_lite.network.moore import gram_schmidt
from torchrl_lite.types import Spec

SPEC = make_spec(3)
OBS, ACT, OUT, MEMBERS = 5, 2, 2, 2
SMALL: dict[str, Any] = {
    "hidden_shapes": [10, 8],
    "paco": {"num_sets": 4},
    "moore": {"num_experts": 4},
    "care": {"num_encoders": 4, "encoder_hidden": 6, "embedding_dim": 5, "temperature": 0.7},
}
F64 = torch.float64


def body_of(kind: str, *, role: Any = "critic", spec: Spec = SPEC, **net: Any) -> Any:
    """A body in float64 with random parameters, including biases and modulations."""
    torch.manual_seed(1)
    config = NetConfig.model_validate({"kind": kind} | SMALL | net)
    members = MEMBERS if role == "critic" else 1
    body = build(config, spec, role=role, outputs=OUT, ensemble=members).double()
    for parameter in body.parameters():
        nn.init.normal_(parameter, std=0.5)
    return body


def inputs(role: str = "critic", seed: int = 0) -> Tensor:
    width = OBS + (ACT if role == "critic" else 0)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 3, 4, width, generator=generator, dtype=F64)


# --- textbook code --------------------------------------------------------------------------------


def linear(layer: Any, x: Tensor, member: int, row: int = 0) -> Tensor:
    return layer.weight[member, row].T @ x + layer.bias[member, row]


def mlp(layers: Any, norms: Any, x: Tensor, member: int) -> Tensor:
    """Without a norm or ReLU after the last layer."""
    for depth, layer in enumerate(layers):
        if depth > 0:
            x = (layer_norm(x, x.shape) if len(norms) else x).relu()
        x = linear(layer, x, member)
    return x


def activated(x: Tensor, norms: Any) -> Tensor:
    return (layer_norm(x, x.shape) if len(norms) else x).relu()


def paco(body: Any, x: Tensor, member: int, task: int) -> Tensor:
    w = body.w[member, task]

    def composed(layer: Any, x: Tensor) -> Tensor:
        theta = sum((w[k] * layer.weight[member, k] for k in range(4)), torch.zeros(()))
        bias = sum((w[k] * layer.bias[member, k] for k in range(4)), torch.zeros(()))
        return theta.T @ x + bias

    for layer in body.hidden:
        x = activated(composed(layer, x), body.norms)
    return composed(body.head, x)


def moore(body: Any, x: Tensor, member: int, task: int) -> Tensor:
    experts, units = body.trunk.experts, []
    for k in range(4):
        u = mlp(experts.layers, experts.norms, x, member * 4 + k)
        for v in units:
            u = u - (v @ u) * v
        units.append(u / (u @ u).sqrt())
    mixture = sum((body.trunk.w[member, task, k] * units[k] for k in range(4)), torch.zeros(()))
    return linear(body.head, mixture.tanh(), member, task)


def film(body: Any, x: Tensor, member: int, task: int) -> Tensor:
    for layer, modulation in zip(body.trunk.layers, body.trunk.films, strict=True):
        x = linear(layer, x, member)
        x = layer_norm(x, x.shape) if len(body.trunk.norms) else x
        x = ((1 + modulation.delta[member, task]) * x + modulation.beta[member, task]).relu()
    return linear(body.head, x, member)


def care(body: Any, x: Tensor, member: int, task: int) -> Tensor:
    trunk = body.trunk
    context = mlp(trunk.context.layers, trunk.context.norms, trunk.task_rows[member, task], member)
    logits = mlp(trunk.attention.layers, trunk.attention.norms, context.detach(), member) / 0.7
    alpha = logits.exp() / logits.exp().sum()
    obs, act = x[:OBS], x[OBS:]
    encoding = torch.zeros(())
    for i in range(4):
        encoder = trunk.encoders
        encoding = encoding + alpha[i] * mlp(encoder.layers, encoder.norms, obs, member * 4 + i)
    z = torch.cat((act, encoding, context))
    z = activated(mlp(trunk.mlp.layers, trunk.mlp.norms, z, member), trunk.mlp.norms)
    return linear(body.head, z, member)


BOOKS: dict[str, Callable[[Any, Tensor, int, int], Tensor]] = {
    "paco": paco,
    "moore": moore,
    "film": film,
    "care": care,
}


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("role", ["actor", "critic"])
@pytest.mark.parametrize("kind", BOOKS)
def test_a_network_matches_its_textbook_form(kind: str, role: str, norm: str) -> None:
    """Outputs and the gradient of every parameter, with tasks in another order."""
    body, x, task = body_of(kind, role=role, norm=norm), inputs(role), [2, 0, 1]
    out = body(x, torch.tensor(task))
    textbook = torch.stack(
        [
            torch.stack(
                [
                    torch.stack([BOOKS[kind](body, state, member, index) for state in x[0, row]])
                    for row, index in enumerate(task)
                ]
            )
            for member in range(len(out))
        ]
    )
    torch.testing.assert_close(out, textbook, rtol=1e-9, atol=1e-9)
    by = torch.randn(out.shape, generator=torch.Generator().manual_seed(3), dtype=F64)
    names, parameters = zip(*body.named_parameters(), strict=True)
    mine = torch.autograd.grad((out * by).sum(), parameters)
    theirs = torch.autograd.grad((textbook * by).sum(), parameters)
    for name, one, other in zip(names, mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7, msg=name)
        assert one.any(), name


def plain(mlp_: nn.Module, other: nn.Module) -> nn.Module:
    """Loads the tensors of ``other`` with the same names into an MLP."""
    mlp_.load_state_dict({name: other.state_dict()[name] for name in mlp_.state_dict()})
    return mlp_


def test_film_starts_as_a_plain_mlp() -> None:
    task = torch.arange(3)
    learner = make_learner("sac", SPEC, kind="film", dtype=F64)
    one = make_learner("sac", make_spec(1), dtype=F64)
    batch = random_batch(SPEC)
    mean, _ = learner.actor(batch.obs, task)
    plain(one.actor, learner.actor)
    expected, _ = one.actor(batch.obs.flatten(0, 1)[None], torch.tensor([0]))
    torch.testing.assert_close(mean.flatten(0, 1), expected[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("num_tasks", [3, 50])
def test_composed_layers_start_with_the_variance_of_he_initialisation(num_tasks: int) -> None:
    net = {"paco": {"num_sets": 20}, "hidden_shapes": [128]}
    torch.manual_seed(0)
    config = NetConfig.model_validate({"kind": "paco"} | net)
    body: Any = build(config, make_spec(num_tasks, obs_dim=64), role="actor", outputs=4)
    layer = body.hidden[0].weight.detach()[0]
    composed = torch.einsum("tk,kio->tio", body.w.detach()[0], layer)
    assert float(composed.var()) == pytest.approx(2 / 64, rel=0.05)  # He et al. 2015
    assert torch.corrcoef(layer.flatten(1)).fill_diagonal_(0).abs().max() < 0.06


@pytest.mark.parametrize("kind", ["moore", "care"])
def test_experts_and_encoders_start_independently(kind: str) -> None:
    """Like ensemble members, with the configured initialisation."""
    net = {"kind": kind, "hidden_shapes": [64, 64], "care": {"encoder_hidden": 64}}
    torch.manual_seed(0)
    spec = make_spec(3, obs_dim=64)
    body: Any = build(NetConfig.model_validate(net), spec, role="actor", outputs=4, ensemble=2)
    first = (body.trunk.experts if kind == "moore" else body.trunk.encoders).layers[0]
    members = first.weight.detach()[:, 0]
    assert len(members) == 2 * (4 if kind == "moore" else 6)
    for member in members:
        assert_uniform(member, (6 / 64) ** 0.5)  # He et al. 2015
    assert torch.corrcoef(members.flatten(1)).fill_diagonal_(0).abs().max() < 0.06
    assert not first.bias.any()


def test_cares_networks_have_the_configured_sizes() -> None:
    net = SMALL["care"] | {"encoder_layers": 3}
    trunk = body_of("care", care=net).trunk
    for part, inputs, outputs in (("encoders", OBS, 5), ("context", 5, 5), ("attention", 5, 4)):
        sizes = [tuple(layer.weight.shape[2:]) for layer in getattr(trunk, part).layers]
        assert sizes == [(inputs, 6), (6, 6), (6, 6), (6, outputs)]


# --- MOORE ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_linearly_dependent_representations_stay_bounded(dtype: torch.dtype) -> None:
    """Zeros, a copy and a sum of others: their remainders have at most unit length."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 400, generator=generator, dtype=dtype)
    u = torch.stack((a, torch.zeros_like(a), b, a, a + b)).requires_grad_()
    v = gram_schmidt(u @ u.mT) @ u
    lengths = v.detach().norm(dim=-1)
    torch.testing.assert_close(lengths[[0, 2]], torch.ones(2, dtype=dtype))
    assert lengths[1] == 0 and (lengths <= 1 + 1e-3).all()
    (grad,) = torch.autograd.grad(v.square().sum() + v.sum(), [u])
    assert grad.isfinite().all() and float(grad.abs().max()) <= 1000


def test_nearly_parallel_representations_with_rounded_products_stay_bounded() -> None:
    """As with ``system.matmul_precision`` "medium", which multiplies in bfloat16."""
    generator = torch.Generator().manual_seed(0)
    a, *noise = torch.randn(4, 100, 1, 400, generator=generator)
    u = torch.cat((a, *(a + 0.03 * one for one in noise)), dim=1)
    gram = u.bfloat16().float() @ u.bfloat16().float().mT
    lengths = (gram_schmidt(gram) @ u).norm(dim=-1)
    assert (lengths < 10).all()
