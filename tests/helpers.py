"""Small specs, learners and random data for the tests."""

import hashlib
import io
import json
import os
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from torchrl_lite.algo.learner import Learner
from torchrl_lite.algo.registry import ALGORITHMS, SECTIONS
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.algo.sac import SAC, SACConfig
from torchrl_lite.config import NetConfig, check
from torchrl_lite.env.rendering import use_headless_backend
from torchrl_lite.errors import CheckpointError, UserError
from torchrl_lite.policies.policy import Policy
from torchrl_lite.types import Batch, Block, Noise, Spec

CPU = torch.device("cpu")
KINDS = get_args(NetConfig.model_fields["kind"].annotation)
"""Every architecture."""
FULL = "critic+policy+target"
"""SAC's update with all its parts."""


def make_spec(num_tasks: int = 1, *, obs_dim: int = 5, act_dim: int = 2) -> Spec:
    """Tasks of the same shape."""
    return padded_spec([obs_dim] * num_tasks, [act_dim] * num_tasks)


def padded_spec(obs_dims: Sequence[int], act_dims: Sequence[int]) -> Spec:
    """One task for each pair of sizes."""
    names = tuple(f"task{index}" for index in range(len(obs_dims)))
    return Spec(names, tuple(obs_dims), tuple(act_dims))


def make_sac(
    spec: Spec,
    *,
    hidden: Sequence[int] = (16, 12),
    init: str = "garage",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    net: dict[str, Any] | None = None,
    **config: Any,
) -> SAC:
    """A learner with seeded weights and noise; ``config`` are fields of its config section, ``net``
    of its networks'."""
    torch.manual_seed(seed)
    section = NetConfig.model_validate({"hidden_shapes": list(hidden), "init": init} | (net or {}))
    learner = SAC(SACConfig(**config), section, spec, device=CPU, seed=seed)
    return learner.to(dtype)  # in place: the optimisers keep their parameters


def make_learner(
    algo: str,
    spec: Spec,
    *,
    kind: str = "mlp",
    task_input: str = "onehot",
    hidden: Sequence[int] = (16, 12),
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device = CPU,
    accel: str = "eager",
    gradients: str = "mean",
    net: dict[str, Any] | None = None,
    **config: Any,
) -> Any:
    """A learner of any algorithm; ignores fields of ``config`` that it does not have."""
    torch.manual_seed(seed)
    learner, section = ALGORITHMS[algo]
    own = {key: value for key, value in config.items() if key in section.model_fields}
    networks = {"kind": kind, "task_input": task_input, "hidden_shapes": list(hidden)}
    networks |= {"soft_module": {"module_hidden": 6, "gating_hidden": 7}}  # 256 would be slow
    made = NetConfig.model_validate(networks | (net or {}))
    built = learner(
        section(**own), made, spec, device=device, seed=seed, accel=accel, gradients=gradients
    )
    for combiner in built._combiners.values():
        combiner.method.to(dtype)
    return built.to(dtype)


def make_policy(algo: str, spec: Spec, **net: Any) -> Policy:
    """A policy with random weights; ``net`` are fields of the networks' configuration."""
    learner = make_learner(algo, spec, net=net)
    tree = {
        "env": {"tasks": list(spec.tasks), "num_envs": spec.num_tasks},
        "net": learner.net.model_dump(),
        "train": {"batch_size": spec.num_tasks},
    }
    config = check(tree, algo=algo, sections=SECTIONS, source="test")
    return Policy(learner.actor, config, spec, frames=7, seed=2, versions={"torch": "2"})


def per_task_parameters(learner: torch.nn.Module, num_tasks: int) -> dict[str, torch.nn.Parameter]:
    """The parameters with a row per task, recognised by the size of their second or only dimension.
    No other parameter may have that size there."""
    return {
        name: parameter
        for name, parameter in learner.named_parameters()
        if parameter.shape[min(1, parameter.ndim - 1)] == num_tasks
    }


def record_gradients(learner: Any) -> dict[str, list[torch.Tensor]]:
    """The gradients that each optimiser receives; filled at every step."""
    seen: dict[str, list[torch.Tensor]] = {}
    for name, optimizer in learner.optimizers.items():

        def remember(optimizer: torch.optim.Optimizer, *_: object, name: str = name) -> None:
            seen[name] = [p.grad.clone() for p in optimizer.param_groups[0]["params"]]

        optimizer.register_step_pre_hook(remember)
    return seen


def random_batch(
    spec: Spec,
    *,
    tasks: Sequence[int] | None = None,
    batch_size: int = 32,
    seed: int = 0,
    discount: float = 0.99,
    dtype: torch.dtype = torch.float64,
) -> Batch:
    """Transitions of these tasks (default: all), one in four of them terminal."""
    generator = torch.Generator().manual_seed(seed)
    task = torch.arange(spec.num_tasks) if tasks is None else torch.tensor(tasks)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    rows = len(task)
    return Batch(
        obs=normal(rows, batch_size, spec.obs_dim),
        act=normal(rows, batch_size, spec.act_dim).tanh(),
        rew=10 * normal(rows, batch_size),
        next_obs=normal(rows, batch_size, spec.obs_dim),
        discount=discount * (torch.rand(rows, batch_size, generator=generator) > 0.25).to(dtype),
        task=task,
    )


def random_noise(batch: Batch, *, seed: int = 0) -> Noise:
    """Noise for an update on ``batch``."""
    generator = torch.Generator().manual_seed(seed)
    shape, dtype = batch.act.shape, batch.act.dtype
    return Noise(
        pick=torch.rand(shape[:2], generator=generator, dtype=torch.float64),
        act=torch.randn(2, *shape, generator=generator, dtype=dtype),
    )


def random_block(spec: Spec, frames: int, copies: int = 1, *, seed: int = 0) -> Block:
    """Random transitions of ``copies`` environments per task over ``frames`` steps."""
    generator = torch.Generator().manual_seed(seed)
    shape = (spec.num_tasks, frames, copies)

    def normal(*sizes: int) -> torch.Tensor:
        return torch.randn(*sizes, generator=generator)

    return Block(
        obs=normal(*shape, spec.obs_dim),
        act=normal(*shape, spec.act_dim),
        rew=normal(*shape),
        next_obs=normal(*shape, spec.obs_dim),
        cont=(torch.rand(shape, generator=generator) > 0.25).float(),
        first=(torch.rand(shape, generator=generator) < 0.2).float(),
    )


def filled_buffer(spec: Spec) -> ReplayBuffer:
    """Random transitions of every task."""
    buffer = ReplayBuffer(spec, 100, CPU)
    buffer.add_block(random_block(spec, 60), range(spec.num_tasks))
    return buffer


def run_updates(learner: Learner, updates: int, tasks: Sequence[int] | None = None) -> None:
    """On random transitions of these tasks (default: all)."""
    every = range(learner.spec.num_tasks)
    learner.run(filled_buffer(learner.spec), tasks or every, opt_steps=updates, batch_size=8)


def error_of(call: Callable[..., object], *args: Any, **kwargs: Any) -> str:
    """The one-line message of the `UserError` or `CheckpointError` that ``call`` raises."""
    with pytest.raises((UserError, CheckpointError)) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert message.strip(), "an error without a message"
    assert len(message.splitlines()) == 1, message
    return message


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """``state`` after a round trip through a checkpoint file, loaded without executing code."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def newest_checkpoint(run: Path) -> Path:
    """The state file of a run's newest complete checkpoint."""
    manifests = (run / "checkpoint").glob("last_*.json")
    return max(manifests, key=lambda path: int(path.stem.split("_")[1])).with_suffix(".pt")


def complete_state(run: Path) -> dict[str, Any]:
    """A run's newest checkpoint with the transitions of every task, oldest first, as ``data``."""
    path = newest_checkpoint(run)
    state = torch.load(path, weights_only=True)
    if state["collector"]["ready"] is not None:
        del state["collector"]["ready"]["cost"]  # timings
    config = json.loads((run / "params.json").read_text())
    written = state["buffer"]["written"]
    capacity = config["replay_buffer"]["size"] // len(written)
    rows: list[dict[int, np.ndarray]] = [{} for _ in written]
    for chunk in state["buffer"].pop("chunks"):
        flat = np.fromfile(path.parent / chunk["file"], np.float32)
        left = iter(flat.reshape(sum(chunk["counts"]), -1))
        for task, (start, count) in enumerate(zip(chunk["starts"], chunk["counts"], strict=True)):
            rows[task] |= {start + number: next(left) for number in range(count)}
    state["buffer"]["data"] = [
        torch.tensor(np.array([numbered[n] for n in range(max(0, end - capacity), end)]))
        for numbered, end in zip(rows, written, strict=True)
    ]
    return state


def sign(changed: Path) -> None:
    """Updates the newest checkpoint's manifest with the checksum of a changed file."""
    manifest = newest_checkpoint(changed.parents[1]).with_suffix(".json")
    files = json.loads(manifest.read_text())["files"]
    content = changed.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    files[changed.name] = {"bytes": len(content), "sha256": digest}
    write_manifest(manifest, files)


def write_manifest(path: Path, files: dict[str, Any]) -> None:
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({"files": files, "sha256": digest}))


class Payload:
    """Creates a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """The OS writes what fits, and then fails."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def damaged(whole: bytes, *, count: int = 300) -> Iterator[bytes]:
    """Copies with three bytes changed, one in five of them also truncated."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        cut = rng.integers(1, len(whole) + 1) if rng.random() < 0.2 else len(whole)
        broken = bytearray(whole[:cut])
        for place in rng.integers(0, len(broken), 3):
            broken[place] ^= int(rng.integers(1, 256))
        yield bytes(broken)


@cache
def renderer() -> str:
    """The headless MuJoCo backend that works here; empty if none does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUJOCO_GL", "")
        with suppress(UserError):
            use_headless_backend()
        return os.environ["MUJOCO_GL"]


def choose_renderer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Selects a headless backend; skips the test if none works."""
    monkeypatch.setenv("MUJOCO_GL", renderer() or pytest.skip("no headless renderer"))
