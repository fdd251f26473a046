"""Updates meet the requirements of CUDA graphs, tested without a GPU."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import CPU, make_learner, make_spec, random_block
from torch import Tensor
from torch.overrides import TorchFunctionMode

from torchrl_lite.algo.accel import Stepper
from torchrl_lite.algo.gradients import METHODS
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.types import Spec

TO_THE_HOST = {
    "__bool__", "__contains__", "__float__", "__index__", "__int__", "allclose", "argwhere",
    "bincount", "cpu", "equal", "is_nonzero", "item", "masked_select", "nonzero", "numpy",
    "tolist", "unique", "unique_consecutive",
}  # fmt: skip
FROM_THE_HOST = {"as_tensor", "asarray", "from_numpy", "frombuffer", "tensor"}


class DeviceOnly(TorchFunctionMode):
    """Fails on what waits for a GPU or copies to it: a graph can capture neither."""

    def __torch_function__(
        self, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.__name__
        assert name not in TO_THE_HOST | FROM_THE_HOST, name
        if name in ("__getitem__", "__setitem__"):
            indices = args[1] if isinstance(args[1], tuple) else (args[1],)
            tensors = [index for index in indices if isinstance(index, Tensor)]
            assert all(index.dtype != torch.bool for index in tensors), f"{name} by a mask"
            if name == "__setitem__" and not isinstance(args[2], Tensor):
                assert not any(isinstance(index, Tensor | int) for index in indices), "a number"
        return func(*args, **(kwargs or {}))


def filled_buffer(spec: Spec, *, seed: int = 0) -> ReplayBuffer:
    buffer = ReplayBuffer(spec, 100, CPU, old_weight=0.25)
    buffer.add_block(random_block(spec, 60, seed=seed), range(spec.num_tasks))
    buffer.retire([0])
    buffer.add_block(random_block(spec, 30, seed=seed + 1), range(spec.num_tasks))
    return buffer


@pytest.mark.parametrize(
    ("algo", "kind", "critic", "gradients"),
    [
        ("sac", "mlp", "hl_gauss", "mean"),
        ("sac", "independent", "c51", "mean"),
        *(("sac", k, "scalar", "mean") for k in ("soft_module", "paco", "moore", "film", "care")),
        ("td3", "multihead", "two_hot", "mean"),
        ("ddpg", "mlp", "scalar", "mean"),
        *(("sac", "multihead", "scalar", name) for name in METHODS),
    ],
)
def test_an_update_stays_on_the_device(algo: str, kind: str, critic: str, gradients: str) -> None:
    """Sampling, update and metrics; with all or some tasks, with a frozen policy or not."""
    spec = make_spec(3)
    learner = make_learner(
        algo, spec, kind=kind, grad_clip=1.0, policy_delay=2, target_update_interval=3,
        temperature_weights=True, gradients=gradients,
        net={"critic": {"kind": critic, "bins": 11}, "norm": "layer"},
    )  # fmt: skip
    learner.start_gently(lr_multiplier=0.5, frozen_updates=2)
    buffer = filled_buffer(spec)

    def checked(_key: object, step: Callable[[], None]) -> None:
        with DeviceOnly():
            step()

    learner.run(buffer, range(3), opt_steps=1, batch_size=8)  # a graph's warm-up fills Adam's state
    learner._stepper = checked
    for tasks, n_step in ((range(3), 1), ((0, 2), 1), ((0, 2), 3)):
        learner.run(buffer, tasks, opt_steps=6, batch_size=8, n_step=n_step)


class FakeStream:
    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device

    def wait_stream(self, _: object) -> None: ...


class FakeCuda:
    """The parts of CUDA that `Stepper` uses; replaying a graph runs the step it captured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.graph_now: SimpleNamespace | None = None
        parts = {"device": nullcontext, "Stream": FakeStream, "CUDAGraph": SimpleNamespace}
        parts |= {"current_stream": FakeStream, "stream": self.stream, "graph": self.graph}
        for name, part in parts.items():
            monkeypatch.setattr(torch.cuda, name, part)

    @contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        self.calls.append(f"warm-up on {stream.device}")
        yield

    @contextmanager
    def graph(self, graph: SimpleNamespace, *, stream: FakeStream) -> Iterator[None]:
        self.calls.append(f"capture on {stream.device}")
        self.graph_now = graph
        yield
        self.graph_now = None

    def step(self, work: Callable[[], None]) -> Callable[[], None]:
        """A step on the device, which does not run while it is captured."""

        def replay() -> None:
            self.calls.append("replay")
            work()

        def run() -> None:
            if self.graph_now is None:
                work()
            else:
                self.graph_now.replay = replay

        return run


def test_each_kind_of_batch_has_its_own_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds differ in size, buffer, tasks or n-step; results are those of eager mode."""
    spec = make_spec(2)
    cuda = FakeCuda(monkeypatch)
    results = []
    for accel in ("eager", "graph"):
        learner = make_learner("td3", spec, policy_delay=2)
        stepper = Stepper(accel, torch.device("cuda:1"))
        learner._stepper = lambda key, step, stepper=stepper: stepper(key, cuda.step(step))
        buffers = filled_buffer(spec), filled_buffer(spec, seed=7)
        for tasks, batch_size, buffer, n_step in (
            ((0, 1), 8, buffers[0], 1),
            ((0, 1), 12, buffers[0], 1),
            ((0, 1), 12, buffers[1], 1),
            ((0, 1), 12, buffers[1], 3),
            ((1,), 12, buffers[1], 1),
            ((0, 1), 8, buffers[0], 1),
        ):
            learner.run(buffer, tasks, opt_steps=10, batch_size=batch_size, n_step=n_step)
            results.append((learner.flush(), [p.detach().clone() for p in learner.parameters()]))
    graphs = 5 * 2  # five kinds of batch, two kinds of update
    assert cuda.calls.count("capture on cuda:1") == graphs
    warm_ups = 3 * graphs + 2  # the first step of each optimiser creates its moments
    assert cuda.calls.count("warm-up on cuda:1") == warm_ups
    assert cuda.calls.count("replay") == 6 * 10 - warm_ups
    for eager, graph in zip(results[:6], results[6:], strict=True):
        assert eager[0] == graph[0]
        assert all(torch.equal(one, other) for one, other in zip(eager[1], graph[1], strict=True))


def test_a_batch_has_the_requested_size() -> None:
    learner, spec = make_learner("ddpg", make_spec()), make_spec()
    sizes = []
    learner._update = lambda batch, *_: sizes.append(batch.rew.shape[1]) or {}
    for size in (4, 6, 4):
        learner.run(filled_buffer(spec), [0], opt_steps=1, batch_size=size)
    assert sizes == [4, 6, 4]


def test_a_stored_learning_rate_tensor_loads_as_a_float() -> None:
    """A run on a GPU stores its learning rate as a tensor; loading moves it to the CPU."""
    learner = make_learner("ddpg", make_spec())
    state = learner.training_state()
    for optimizer in state["optimizers"].values():
        optimizer["param_groups"][0]["lr"] = torch.tensor(2e-4)
    learner.load_training_state(state)
    rates = [opt.param_groups[0]["lr"] for opt in learner.optimizers.values()]
    assert rates == [float(torch.tensor(2e-4))] * 2
    assert all(type(rate) is float for rate in rates)
