"""Multi-task architectures against single-task learners and naive loops."""

import math
from typing import Any

import pytest
import torch
from helpers import FULL, make_spec, random_batch, random_noise
from helpers import make_learner as make
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from torchrl_lite.config import NetConfig
from torchrl_lite.network.build import build
from torchrl_lite.network.soft_module import SoftModuleNetwork
from torchrl_lite.types import Batch, Noise, Spec

SMALL = {"num_modules": 3, "num_layers": 3, "module_hidden": 6, "gating_hidden": 7}


def make_learner(kind: str, tasks: int, *, net: dict[str, Any] | None = None, **config: Any) -> Any:
    net = {"hidden_shapes": [10, 8], "soft_module": SMALL} | (net or {})
    algo = config.pop("algo", "sac")
    return make(algo, make_spec(tasks), kind=kind, net=net, dtype=torch.float64, **config)


def row(batch: Batch, noise: Noise, place: int) -> tuple[Batch, Noise]:
    """One task's part, as a learner of only that task sees it."""
    rows = slice(place, place + 1)
    parts = [tensor[rows] for tensor in batch[:-1]]
    alone = Batch(*parts, task=torch.zeros(1, dtype=torch.int64))
    return alone, Noise(noise.pick[rows], noise.act[:, rows])


@pytest.mark.parametrize(
    ("clip", "net"),
    [
        (0.05, {"norm": "layer", "residual": True, "hidden_shapes": [8, 8]}),
        (1e3, {"norm": "layer", "critic": {"kind": "c51", "bins": 21, "bound": 16.0}}),
    ],
    ids=str,
)
def test_independent_agents_equal_separate_learners(clip: float, net: dict[str, Any]) -> None:
    """Also if gradients are too small to be clipped."""
    tasks = 3
    together = make_learner("independent", tasks, net=net, grad_clip=clip)
    alone = [make_learner("mlp", 1, net=net, grad_clip=clip) for _ in range(tasks)]
    for task, learner in enumerate(alone):
        state = {}
        for name, tensor in together.state_dict().items():
            own = tensor[task : task + 1] if tensor.ndim == 1 else tensor[:, task : task + 1]
            state[name] = own.clone()
        learner.load_state_dict(state)
    for step in range(8):  # at the end, the second agent is inactive
        tasks = [0, 1, 2] if step < 5 else [2, 0]
        batch = random_batch(together.spec, tasks=tasks, seed=step)
        noise = random_noise(batch, seed=step)
        ours = together.update(batch, noise, FULL)
        for place, task in enumerate(tasks):
            theirs = alone[task].update(*row(batch, noise, place), FULL)
            for name, value in theirs.items():
                torch.testing.assert_close(ours[name][place], value[0], rtol=1e-9, atol=1e-9)
    for task, learner in enumerate(alone):
        for name, tensor in learner.state_dict().items():
            full = together.state_dict()[name]
            own = full[task : task + 1] if full.ndim == 1 else full[:, task : task + 1]
            torch.testing.assert_close(own, tensor, rtol=1e-9, atol=1e-9, msg=name)


def test_temperature_weights_scale_all_gradients_but_the_temperatures_own() -> None:
    """Weights proportional to 1/alpha: the joint gradient is the weighted sum of those of each task
    alone. The learning rates are too small to matter."""
    learner = make_learner("mlp", 3, temperature_weights=True, plr=1e-12, qlr=1e-12)
    learner.log_alpha.data = torch.tensor([0.0, -1.0, 2.0], dtype=torch.float64)
    seen: dict[str, list[Tensor]] = {}
    for name, optimizer in learner.optimizers.items():

        def remember(optimizer: torch.optim.Optimizer, *_: object, name: str = name) -> None:
            seen[name] = [p.grad.clone() for p in optimizer.param_groups[0]["params"]]

        optimizer.register_step_pre_hook(remember)

    def gradients(tasks: slice) -> dict[str, list[Tensor]]:
        batch = random_batch(learner.spec)
        noise = random_noise(batch)
        part = Batch(*(field[tasks] for field in batch))
        learner.update(part, Noise(noise.pick[tasks], noise.act[:, tasks]), "critic+policy")
        return dict(seen)

    together = gradients(slice(None))
    alone = [gradients(slice(task, task + 1)) for task in range(3)]
    inverse = torch.tensor([1.0, math.e, math.exp(-2)]).double()
    weights = {name: inverse / inverse.sum() for name in ("critic", "actor")}
    weights["alpha"] = torch.ones(3).double() / 3
    for name, weight in weights.items():
        for index, gradient in enumerate(together[name]):
            parts = zip(weight, alone, strict=True)
            expected = sum(share * own[name][index] for share, own in parts)
            torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("layers", "norm"), [(1, "none"), (2, "layer"), (4, "none")])
def test_a_soft_module_network_matches_a_naive_loop(layers: int, norm: str) -> None:
    """One row and one module at a time, from the equations and the documented deviations."""
    spec: Spec = make_spec(3)
    config = {"kind": "soft_module", "hidden_shapes": [10, 8], "norm": norm}
    net = NetConfig.model_validate(config | {"soft_module": SMALL | {"num_layers": layers}})
    torch.manual_seed(1)
    body = build(net, spec, role="critic", outputs=2, ensemble=2).double()
    assert isinstance(body, SoftModuleNetwork)
    for parameter in body.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(1, 3, 4, 7, dtype=torch.float64)
    tasks = [2, 0, 1]
    out = body(x, torch.tensor(tasks))
    for member in range(2):
        for row, task in enumerate(tasks):
            for sample in range(4):
                naive = _naive(body, x[0, row, sample], member, task)
                torch.testing.assert_close(out[member, row, sample], naive)


def _linear(layer: nn.Module, x: Tensor, member: int) -> Tensor:
    return x @ layer.get_parameter("weight")[member, 0] + layer.get_parameter("bias")[member, 0]


def _normed(x: Tensor, norms: nn.ModuleList) -> Tensor:
    """Unchanged if there are no norms."""
    return layer_norm(x, x.shape) if len(norms) else x


def _naive(body: SoftModuleNetwork, x: Tensor, member: int, task: int) -> Tensor:
    f = _linear(body.observation.layers[0], x, member)
    f = _normed(f, body.observation.norms).relu()
    f = _linear(body.observation.layers[1], f, member)
    g = (body.task_rows[member, task] * f).relu()
    g = _normed(_linear(body.gating.layers[0], g, member), body.gating.norms).relu()
    g = _linear(body.gating.layers[1], g, member)
    modules, seen, mixtures = body.num_modules, [], []
    condition = g
    for route, after in zip(body.routes, body.conditions, strict=True):
        raw = _linear(route, condition.relu(), member).view(modules, modules)
        mixture = torch.stack([line.softmax(0) for line in raw])
        mixtures.append(mixture)
        seen += [p for line in mixture for p in line]
        condition = _linear(after, torch.stack(seen), member) * g
    last = _linear(body.last_route, condition.relu(), member).softmax(0)

    def apply(depth: int, module: int, value: Tensor) -> Tensor:
        layer = body.layers[depth]
        return value @ layer.weight[member, module] + layer.bias[member, module]

    outputs = [apply(0, module, f.relu()) for module in range(modules)]
    for depth, mixture in enumerate(mixtures, start=1):
        inputs = [
            sum((mixture[j, i] * outputs[i] for i in range(modules)), start=torch.zeros(()))
            for j in range(modules)
        ]
        inputs = [_normed(value, body.norms).relu() for value in inputs]
        outputs = [apply(depth, j, inputs[j]) for j in range(modules)]
    mixed = sum((last[i] * outputs[i] for i in range(modules)), start=torch.zeros(()))
    return _linear(body.head, _normed(mixed, body.norms).relu(), member)
