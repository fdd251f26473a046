"""Every network against textbook code: one member, one task, one state at a time."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import pytest
import torch
from helpers import make_learner, make_spec, random_batch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, normalize

from torchrl_lite.config import NetConfig
from torchrl_lite.network.build import build
from torchrl_lite.network.layers import EnsembleLinear
from torchrl_lite.network.moore import gram_schmidt

SPEC = make_spec(3)
OBS, ACT, OUT, MEMBERS = 5, 2, 2, 2
SMALL: dict[str, Any] = {
    "hidden_shapes": [10, 8],
    "embedding_dim": 4,
    "soft_module": {"num_modules": 4, "num_layers": 3, "module_hidden": 6, "gating_hidden": 7},
    "paco": {"num_sets": 4},
    "moore": {"num_experts": 4},
    "care": {"num_encoders": 4, "encoder_hidden": 6, "embedding_dim": 5, "temperature": 0.7},
}
F64 = torch.float64


def body_of(kind: str, *, role: Any = "critic", tasks: int = 3, **net: Any) -> Any:
    """A body in float64 with random parameters, including biases and modulations."""
    torch.manual_seed(1)
    config = NetConfig.model_validate({"kind": kind} | SMALL | net)
    members = MEMBERS if role == "critic" else 1
    body = build(config, make_spec(tasks), role=role, outputs=OUT, ensemble=members).double()
    for parameter in body.parameters():
        nn.init.normal_(parameter, std=0.5)
    return body


# --- textbook code --------------------------------------------------------------------------------


def linear(layer: Any, x: Tensor, member: int, row: int = 0) -> Tensor:
    """A weight or bias that all rows share has only one."""
    weight, bias = (p[member, row % p.shape[1]] for p in (layer.weight, layer.bias))
    return weight.T @ x + bias


def normed(x: Tensor, norms: Any) -> Tensor:
    """Unchanged if the network has no norms."""
    return layer_norm(x, x.shape) if len(norms) else x


def activated(x: Tensor, norms: Any) -> Tensor:
    return normed(x, norms).relu()


def weighted(weights: Tensor, values: Any) -> Tensor:
    return sum((w * v for w, v in zip(weights, values, strict=True)), torch.zeros(()))


def mlp(layers: Any, norms: Any, x: Tensor, member: int) -> Tensor:
    """Without a norm or ReLU after the last layer."""
    for depth, layer in enumerate(layers):
        if depth > 0:
            x = activated(x, norms)
        x = linear(layer, x, member)
    return x


def trunk(body: Any, x: Tensor, member: int, task: int) -> Tensor:
    """A stack of layers, each with its norm and ReLU, or Nauman et al. 2025, figure 2."""
    own, norms = body.trunk, body.trunk.norms
    x = linear(own.layers[0], x, member, task)
    if own.embedding is not None:
        x = x + normalize(own.embedding.rows[member, task], dim=0) @ own.embedding.weight[member]
    x = activated(x, norms)
    layers = iter(own.layers[1:])
    for layer in layers:
        new = activated(linear(layer, x, member, task), norms)
        x = x + normed(linear(next(layers), new, member, task), norms) if own.residual else new
    return linear(body.head, x, member, task)


def soft_module(body: Any, x: Tensor, member: int, task: int) -> Tensor:
    """From the equations and the documented deviations."""
    f = mlp(body.observation.layers, body.observation.norms, x, member)
    g = (body.task_rows[member, task] * f).relu()
    g = mlp(body.gating.layers, body.gating.norms, g, member)
    first, *others = body.layers
    outputs = [linear(first, f.relu(), member, module) for module in range(4)]
    condition, seen = g, []
    for route, after, layer in zip(body.routes, body.conditions, others, strict=True):
        mixture = linear(route, condition.relu(), member).view(4, 4).softmax(1)
        seen += [*mixture]
        condition = linear(after, torch.cat(seen), member) * g
        inputs = [activated(weighted(shares, outputs), body.norms) for shares in mixture]
        outputs = [linear(layer, inputs[module], member, module) for module in range(4)]
    last = linear(body.last_route, condition.relu(), member).softmax(0)
    return linear(body.head, activated(weighted(last, outputs), body.norms), member)


def paco(body: Any, x: Tensor, member: int, task: int) -> Tensor:
    w = body.w[member, task]

    def composed(layer: Any, x: Tensor) -> Tensor:
        return weighted(w, layer.weight[member]).T @ x + weighted(w, layer.bias[member])

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
    return linear(body.head, weighted(body.trunk.w[member, task], units).tanh(), member, task)


def film(body: Any, x: Tensor, member: int, task: int) -> Tensor:
    for layer, modulation in zip(body.trunk.layers, body.trunk.films, strict=True):
        x = normed(linear(layer, x, member), body.trunk.norms)
        x = ((1 + modulation.delta[member, task]) * x + modulation.beta[member, task]).relu()
    return linear(body.head, x, member)


def care(body: Any, x: Tensor, member: int, task: int) -> Tensor:
    own, encoders = body.trunk, body.trunk.encoders
    context = mlp(own.context.layers, own.context.norms, own.task_rows[member, task], member)
    logits = mlp(own.attention.layers, own.attention.norms, context.detach(), member) / 0.7
    alpha = logits.exp() / logits.exp().sum()
    encodings = [mlp(encoders.layers, encoders.norms, x[:OBS], member * 4 + i) for i in range(4)]
    z = torch.cat((x[OBS:], weighted(alpha, encodings), context))
    z = activated(mlp(own.mlp.layers, own.mlp.norms, z, member), own.mlp.norms)
    return linear(body.head, z, member)


BOOKS: dict[str, Callable[[Any, Tensor, int, int], Tensor]] = {
    "mlp": trunk,
    "multihead": trunk,
    "independent": trunk,
    "soft_module": soft_module,
    "paco": paco,
    "moore": moore,
    "film": film,
    "care": care,
}


def assert_matches_its_textbook(
    kind: str, tasks: Sequence[int], body: Any, *, role: str = "critic"
) -> None:
    """Outputs and the gradient of every parameter, for 4 states of each of these tasks."""
    width = OBS + (ACT if role == "critic" else 0)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, len(tasks), 4, width, generator=generator, dtype=F64)
    out = body(x, torch.tensor(tasks))
    textbook = torch.stack(
        [
            BOOKS[kind](body, state, member, task)
            for member in range(len(out))
            for row, task in enumerate(tasks)
            for state in x[0, row]
        ]
    ).view(out.shape)
    torch.testing.assert_close(out, textbook, rtol=1e-12, atol=1e-12)
    by = torch.randn(out.shape, generator=generator, dtype=F64)
    names, parameters = zip(*body.named_parameters(), strict=True)
    mine = torch.autograd.grad((out * by).sum(), parameters)
    theirs = torch.autograd.grad((textbook * by).sum(), parameters)
    for name, one, other in zip(names, mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10, msg=name)
        assert one.any(), name


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("role", ["actor", "critic"])
@pytest.mark.parametrize("kind", BOOKS)
def test_a_network_matches_its_textbook_form(kind: str, role: str, norm: str) -> None:
    assert_matches_its_textbook(kind, [2, 0, 1], body_of(kind, role=role, norm=norm), role=role)


@pytest.mark.parametrize(("layers", "norm"), [(1, "none"), (2, "layer"), (4, "none")])
def test_a_soft_module_network_of_any_depth_matches_its_textbook_form(
    layers: int, norm: str
) -> None:
    sizes = SMALL["soft_module"] | {"num_layers": layers}
    body = body_of("soft_module", norm=norm, soft_module=sizes)
    assert_matches_its_textbook("soft_module", [2, 0, 1], body)


@pytest.mark.parametrize(("tasks", "rows"), [(1, [0]), (3, [2, 0])], ids=str)
@pytest.mark.parametrize(
    ("kind", "task_input"),
    [*product(["mlp", "multihead"], ["onehot", "embedding"]), ("independent", "onehot")],
)
@pytest.mark.parametrize(
    "shape",
    [
        {"norm": "layer", "hidden_shapes": [8, 7, 9]},
        {"residual": True, "hidden_shapes": [8, 8, 8]},
        {"norm": "layer", "residual": True, "hidden_shapes": [8, 8, 8]},
        {"norm": "layer", "residual": True, "hidden_shapes": [8]},
    ],
    ids=str,
)
def test_a_trunk_matches_its_textbook_form(
    shape: dict[str, Any], kind: str, task_input: str, tasks: int, rows: list[int]
) -> None:
    """With one task, or some of several."""
    body = body_of(kind, tasks=tasks, task_input=task_input, **shape)
    assert_matches_its_textbook(kind, rows, body)


# --- initial weights and sizes --------------------------------------------------------------------


def test_norms_do_not_change_initial_weights() -> None:
    plain, normed = (
        make_learner("sac", SPEC, net={"norm": norm}).state_dict() for norm in ("none", "layer")
    )
    assert plain.keys() == normed.keys()
    assert [name for name in plain if not torch.equal(plain[name], normed[name])] == []


@pytest.mark.parametrize(("algo", "kind"), [("sac", "soft_module"), ("td3", "mlp")])
def test_actor_and_critics_may_have_different_sizes(kind: str, algo: str) -> None:
    net = {"hidden_shapes": [12, 11], "actor_hidden_shapes": [7, 6, 5]}
    learner = make_learner(algo, make_spec(2), kind=kind, net=net)

    def widths(module: nn.Module) -> list[int]:
        own = module.body.observation if kind == "soft_module" else module.body.trunk
        linears = [layer for layer in own.layers if isinstance(layer, EnsembleLinear)]
        return [layer.weight.shape[-1] for layer in linears]

    critics = [learner.critic, learner.target]
    actors = [learner.actor, *([learner.target_actor] if algo != "sac" else [])]
    assert [widths(part) for part in critics] == [[12, 11]] * 2
    assert [widths(part) for part in actors] == [[7, 6, 5]] * len(actors)


def test_film_starts_as_a_plain_mlp() -> None:
    learner = make_learner("sac", SPEC, kind="film", dtype=F64)
    plain = make_learner("sac", make_spec(1), dtype=F64)
    weights = learner.actor.state_dict()
    plain.actor.load_state_dict({name: weights[name] for name in plain.actor.state_dict()})
    obs = random_batch(SPEC).obs
    mean, _ = learner.actor(obs, torch.arange(3))
    expected, _ = plain.actor(obs.flatten(0, 1)[None], torch.tensor([0]))
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
