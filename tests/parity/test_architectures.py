"""Architectures for many tasks against the single-task learner and against literal loops."""

import math
from typing import Any

import pytest
import torch
from helpers import CPU, FULL, KINDS, make_spec, random_batch, random_noise, rows_of_tasks
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from torchrl_lite.algo.sac import SAC, SACConfig
from torchrl_lite.config import NetConfig
from torchrl_lite.network.build import build
from torchrl_lite.network.initialisation import Init, xavier_normal
from torchrl_lite.network.soft_module import Modules, SoftModuleNetwork
from torchrl_lite.types import Batch, Noise, Spec

SMALL = {"num_modules": 3, "num_layers": 3, "module_hidden": 6, "gating_hidden": 7}


def make_learner(
    kind: str, tasks: int, *, seed: int = 0, net: dict[str, Any] | None = None, **config: Any
) -> SAC:
    torch.manual_seed(seed)
    options = {"kind": kind, "hidden_shapes": [10, 8], "soft_module": SMALL} | (net or {})
    learner = SAC(
        SACConfig(**config),
        NetConfig.model_validate(options),
        make_spec(tasks),
        device=CPU,
        seed=seed,
    )
    return learner.double()


def row(batch: Batch, noise: Noise, place: int) -> tuple[Batch, Noise]:
    """One task's part, as a learner of that task alone sees it."""
    rows = slice(place, place + 1)
    parts = [tensor[rows] for tensor in batch[:-1]]
    alone = Batch(*parts, task=torch.zeros(1, dtype=torch.int64))
    return alone, Noise(noise.pick[rows], noise.act[:, rows])


def test_multihead_of_one_task_is_an_mlp() -> None:
    one, other = make_learner("multihead", 1), make_learner("mlp", 1)
    names = {name: tensor.shape for name, tensor in one.state_dict().items()}
    assert names == {name: tensor.shape for name, tensor in other.state_dict().items()}
    for seed in range(3):
        batch = random_batch(one.spec, seed=seed)
        noise = random_noise(batch, seed=seed)
        one.update(batch, noise, FULL)
        other.update(batch, noise, FULL)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


@pytest.mark.parametrize(
    ("clip", "net"),
    [
        (None, {}),
        (0.05, {}),
        (0.05, {"norm": "layer", "residual": True, "hidden_shapes": [8, 8]}),
        (None, {"norm": "layer", "critic": {"kind": "c51", "bins": 21, "bound": 16.0}}),
    ],
    ids=str,
)
def test_independent_agents_equal_separate_learners(
    clip: float | None, net: dict[str, Any]
) -> None:
    tasks = 3
    together = make_learner("independent", tasks, net=net, grad_clip=clip)
    alone = [make_learner("mlp", 1, net=net, grad_clip=clip) for _ in range(tasks)]
    for task, learner in enumerate(alone):
        state = {}
        for name, tensor in together.state_dict().items():
            own = tensor[task : task + 1] if tensor.ndim == 1 else tensor[:, task : task + 1]
            state[name] = own.clone()
        learner.load_state_dict(state)
    for step in range(23):  # after twenty, the second agent rests
        tasks = [0, 1, 2] if step < 20 else [2, 0]
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


@pytest.mark.parametrize("network", ["actor", "critic"])
@pytest.mark.parametrize("kind", ["multihead", "independent"])
def test_a_head_gets_no_gradient_from_another_task(kind: str, network: str) -> None:
    learner = make_learner(kind, 3)
    batch = random_batch(learner.spec, tasks=[1])
    module = getattr(learner, network)
    inputs = (batch.obs, batch.act) if network == "critic" else (batch.obs,)
    output = module(*inputs, batch.task)
    total = output.sum() if network == "critic" else sum(part.sum() for part in output)
    head = module.body.get_parameter("head.weight")
    (grad,) = torch.autograd.grad(total, [head])
    assert grad[:, 1].abs().sum() > 0
    assert torch.equal(grad[:, [0, 2]], torch.zeros_like(grad[:, [0, 2]]))


FIRST_BIAS = {"trunk.layers.0.bias"}
HEAD = {"head.weight", "head.bias"}
LAYERS = {f"trunk.layers.{depth}.{part}" for depth in (0, 1) for part in ("weight", "bias")}
PARTS = ("delta", "beta")
OWN = {
    ("mlp", "onehot", "none"): FIRST_BIAS,
    ("mlp", "embedding", "none"): {"trunk.embedding.rows"},
    ("multihead", "onehot", "none"): FIRST_BIAS | HEAD,
    ("multihead", "embedding", "none"): {"trunk.embedding.rows"} | HEAD,
    ("independent", "onehot", "none"): LAYERS | HEAD,
    ("soft_module", "onehot", "none"): {"task_rows"},
    ("multihead", "onehot", "layer"): FIRST_BIAS | HEAD,
    ("independent", "onehot", "layer"): LAYERS | HEAD,
    ("soft_module", "onehot", "layer"): {"task_rows"},
    ("paco", "onehot", "none"): {"w"},
    ("moore", "onehot", "layer"): {"trunk.w"} | HEAD,
    ("film", "onehot", "layer"): {f"trunk.films.{d}.{part}" for d in (0, 1) for part in PARTS},
    ("care", "onehot", "none"): {"trunk.task_rows"},
}
"""What each task has of its own in every network, beside its temperature."""


@pytest.mark.parametrize(("kind", "task_input", "norm"), OWN)
def test_what_does_not_train_does_not_move(kind: str, task_input: str, norm: str) -> None:
    learner = make_learner(kind, 4, net={"task_input": task_input, "norm": norm}, grad_clip=1.0)
    own = rows_of_tasks(learner, 4)
    names = {name.split(".body.")[-1] for name in own}
    assert {"log_alpha", *OWN[kind, task_input, norm]} == names

    def rows(task: int) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = dict(own)
        names = {id(parameter): name for name, parameter in own.items()}
        for optimizer in learner.optimizers.values():
            for parameter, state in optimizer.state.items():
                if id(parameter) in names:
                    moments = ("exp_avg", "exp_avg_sq")
                    tensors |= {f"{names[id(parameter)]}.{key}": state[key] for key in moments}
        return {
            name: (tensor[task] if tensor.ndim == 1 else tensor[:, task]).detach().clone()
            for name, tensor in tensors.items()
        }

    def train(tasks: list[int], seed: int) -> None:
        batch = random_batch(learner.spec, tasks=tasks, seed=seed)
        learner.update(batch, random_noise(batch, seed=seed), FULL)

    for seed in range(3):
        train([0, 1, 2, 3], seed)
    still, moving = [rows(1), rows(3)], [rows(0), rows(2)]
    assert any(name.startswith("target") for name in still[0])
    assert any(name.endswith("exp_avg_sq") for name in still[0])
    for seed in range(3, 8):
        train([2, 0], seed)
    for before, after in zip(still, [rows(1), rows(3)], strict=True):
        for name, tensor in after.items():
            assert torch.equal(tensor, before[name]), name
    for before, after in zip(moving, [rows(0), rows(2)], strict=True):
        assert all(not torch.equal(tensor, before[name]) for name, tensor in after.items())


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_task_rows_does_not_matter(kind: str) -> None:
    learner = make_learner(kind, 3)
    batch = random_batch(learner.spec)
    order = [2, 0, 1]
    shuffled = Batch(*(tensor[order] for tensor in batch))
    q = learner.critic(batch.obs, batch.act, batch.task)
    torch.testing.assert_close(
        learner.critic(shuffled.obs, shuffled.act, shuffled.task), q[:, order]
    )


def test_a_task_embedding_is_a_unit_vector_at_the_input() -> None:
    tasks, size = 3, 4
    learner = make_learner("mlp", tasks, net={"task_input": "embedding", "embedding_dim": size})
    trunk = learner.actor.body.trunk
    batch = random_batch(learner.spec)
    vectors = trunk.embedding.rows[0]
    unit = vectors / vectors.square().sum(-1, keepdim=True).sqrt()
    first = trunk.layers[0]
    weight = torch.cat((first.weight[0, 0], trunk.embedding.weight[0]))
    for task in range(tasks):
        inputs = torch.cat((batch.obs[task], unit[task].expand(batch.obs.shape[1], -1)), dim=1)
        literal = (inputs @ weight + first.bias[0]).relu()
        literal = (literal @ trunk.layers[1].weight[0, 0] + trunk.layers[1].bias[0]).relu()
        torch.testing.assert_close(trunk(batch.obs[None], batch.task)[0, task], literal)


def test_temperature_weights_follow_the_softmax_and_average_one() -> None:
    learner = make_learner("mlp", 3, temperature_weights=True)
    learner.log_alpha.data = torch.tensor([0.0, -1.0, 2.0], dtype=torch.float64)
    inverse = torch.tensor([0.0, -1.0, 2.0]).double().exp().reciprocal()
    expected = 3 * inverse / inverse.sum()
    torch.testing.assert_close(learner.task_weight(torch.arange(3)), expected)
    plain = make_learner("mlp", 3)
    torch.testing.assert_close(plain.task_weight(torch.arange(3)), torch.ones(3).double())


def test_temperature_weights_are_those_of_gradients_but_for_the_temperatures_own() -> None:
    """The gradient of all tasks from those of each task alone, at steps too small to matter."""
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


def test_modules_equal_a_loop_over_them() -> None:
    torch.manual_seed(0)
    layer = Modules(3, 5, 4, ensemble=2, init=Init(xavier_normal, xavier_normal)).double()
    x = torch.randn(2, 2, 6, 3, 5, dtype=torch.float64)
    out = layer(x)
    for member in range(2):
        for module in range(3):
            literal = x[member, :, :, module] @ layer.weight[member, module]
            literal = literal + layer.bias[member, module]
            torch.testing.assert_close(out[member, :, :, module], literal)


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_a_soft_module_network_equals_a_literal_loop(layers: int, norm: str) -> None:
    """One row at a time, one module at a time, from the equations and the listed deviations."""
    spec: Spec = make_spec(3)
    config = {"kind": "soft_module", "hidden_shapes": [10, 8], "norm": norm}
    net = NetConfig.model_validate(config | {"soft_module": SMALL | {"num_layers": layers}})
    torch.manual_seed(1)
    body = build(net, spec, role="critic", outputs=2, ensemble=2).double()
    assert isinstance(body, SoftModuleNetwork)
    for parameter in body.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(1, 3, 4, 7, dtype=torch.float64)
    out = body(x, torch.arange(3))
    for member in range(2):
        for task in range(3):
            for sample in range(4):
                literal = _literal(body, x[0, task, sample], member, task)
                torch.testing.assert_close(out[member, task, sample], literal)


def _linear(layer: nn.Module, x: Tensor, member: int) -> Tensor:
    return x @ layer.get_parameter("weight")[member, 0] + layer.get_parameter("bias")[member, 0]


def _normed(x: Tensor, norms: nn.ModuleList) -> Tensor:
    """As it is where there are no norms."""
    return layer_norm(x, x.shape) if len(norms) else x


def _literal(body: SoftModuleNetwork, x: Tensor, member: int, task: int) -> Tensor:
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
