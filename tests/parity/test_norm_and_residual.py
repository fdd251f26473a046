"""Trunks with LayerNorm and residual blocks against plain PyTorch, member by member."""

from typing import Any

import pytest
import torch
from helpers import make_learner, make_spec
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear, normalize

from torchrl_lite.config import NetConfig
from torchrl_lite.network.build import build
from torchrl_lite.network.layers import EnsembleLinear

E, B, OUT = 2, 6, 3
TASK_INPUTS: dict[str, dict[str, str]] = {
    "onehot": {},
    "embedding": {"task_input": "embedding"},
    "heads": {"kind": "multihead"},
    "heads, embedding": {"kind": "multihead", "task_input": "embedding"},
    "independent": {"kind": "independent"},
}
SHAPES: dict[str, dict[str, Any]] = {
    "norm": {"norm": "layer", "hidden_shapes": [8, 7, 9]},
    "residual": {"residual": True, "hidden_shapes": [8, 8, 8]},
    "norm, residual": {"norm": "layer", "residual": True, "hidden_shapes": [8, 8, 8]},
    "norm, residual, one layer": {"norm": "layer", "residual": True, "hidden_shapes": [8]},
}


def body_of(tasks: int, **net: Any) -> Any:
    """A critic's body with random weights."""
    config = NetConfig.model_validate({"embedding_dim": 4, **net})
    body = build(config, make_spec(tasks), role="critic", outputs=OUT, ensemble=E).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in body.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator).double()
    return body


def own(parameter: Tensor, member: int, task: int) -> Tensor:
    """The part of one member and task; tasks that share a row use the first."""
    return parameter[member, task if parameter.shape[1] > 1 else 0]


def plain(body: Any, x: Tensor, member: int, task: int) -> Tensor:
    """Nauman et al. 2025, figure 2, or a stack of layers, each with its norm and ReLU."""
    trunk = body.trunk

    def layer(depth: int, x: Tensor) -> Tensor:
        weight, bias = (own(p, member, task) for p in trunk.layers[depth].parameters())
        x = linear(x, weight.T, bias)
        if depth == 0 and trunk.embedding is not None:
            unit = normalize(trunk.embedding.rows[member, task], dim=0)
            x = x + unit @ trunk.embedding.weight[member]
        if len(trunk.norms):
            x = layer_norm(x, x.shape[-1:])
        return x

    x = layer(0, x).relu()
    if trunk.residual:
        for depth in range(1, len(trunk.layers), 2):
            x = x + layer(depth + 1, layer(depth, x).relu())
    else:
        for depth in range(1, len(trunk.layers)):
            x = layer(depth, x).relu()
    weight, bias = (own(p, member, task) for p in body.head.parameters())
    return linear(x, weight.T, bias)


@pytest.mark.parametrize(("tasks", "rows"), [(1, [0]), (3, [2, 0])], ids=str)
@pytest.mark.parametrize("how", TASK_INPUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_trunk_matches_plain_pytorch(shape: str, how: str, tasks: int, rows: list[int]) -> None:
    """Values and gradients, for one task and for some of several in another order."""
    body = body_of(tasks, **SHAPES[shape], **TASK_INPUTS[how])
    x = torch.randn(1, len(rows), B, 7, generator=torch.Generator().manual_seed(2)).double()
    mine = body(x, torch.tensor(rows))
    expected = torch.stack(
        [
            torch.stack([plain(body, x[0, row], member, task) for row, task in enumerate(rows)])
            for member in range(E)
        ]
    )
    torch.testing.assert_close(mine, expected, rtol=1e-12, atol=1e-12)
    by = torch.randn(expected.shape, generator=torch.Generator().manual_seed(3)).double()
    grads = [
        torch.autograd.grad((out * by).sum(), list(body.parameters())) for out in (mine, expected)
    ]
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-10)


def test_norms_do_not_change_initial_weights() -> None:
    plain, normed = (
        make_learner("sac", make_spec(3), net={"norm": norm}).state_dict()
        for norm in ("none", "layer")
    )
    assert plain.keys() == normed.keys()
    assert [name for name in plain if not torch.equal(plain[name], normed[name])] == []


@pytest.mark.parametrize(("algo", "kind"), [("sac", "soft_module"), ("td3", "mlp")])
def test_actor_and_critics_may_have_different_sizes(kind: str, algo: str) -> None:
    net = {"hidden_shapes": [12, 11], "actor_hidden_shapes": [7, 6, 5]}
    learner = make_learner(algo, make_spec(2), kind=kind, net=net)

    def widths(module: nn.Module) -> list[int]:
        trunk = module.body.observation if kind == "soft_module" else module.body.trunk
        linears = [layer for layer in trunk.layers if isinstance(layer, EnsembleLinear)]
        return [layer.weight.shape[-1] for layer in linears]

    critics = [learner.critic, learner.target]
    actors = [learner.actor, *([learner.target_actor] if algo != "sac" else [])]
    assert [widths(part) for part in critics] == [[12, 11]] * 2
    assert [widths(part) for part in actors] == [[7, 6, 5]] * len(actors)
