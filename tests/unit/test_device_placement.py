"""Whole runs never mix tensors of two devices, checked without a GPU.

The learner and its buffer are on torch's "meta" device, whose tensors have shapes but no data.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import train
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from torchrl_lite.algo.optimizers import Optimizers
from torchrl_lite.command import launch
from torchrl_lite.config import EnvConfig
from torchrl_lite.demos.expert import record
from torchrl_lite.demos.file import write

COPIES = {"aten::_to_copy", "aten::copy_"}
PLACEHOLDERS = {torch.bool: True, torch.int64: 1, torch.float32: 0.5, torch.float64: 0.5}


class OneDevice(TorchDispatchMode):
    """Rejects operands on two devices; values read back from "meta" are made up."""

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, name = kwargs or {}, func._schema.name
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        devices = {tensor.device.type for tensor in tensors}
        if "meta" not in devices:
            return func(*args, **kwargs)
        if name in COPIES:
            if name == "aten::copy_" and args[0].device.type == "cpu":
                return args[0].zero_()
            if kwargs.get("device") == torch.device("cpu"):
                return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
            return func(*args, **kwargs)
        assert devices == {"meta"}, f"{name}: operands on {devices}"
        if name == "aten::_local_scalar_dense":
            return PLACEHOLDERS[args[0].dtype]
        if name.startswith("aten::_fused_adam"):  # not implemented for "meta"
            return None
        return func(*args, **kwargs)


@contextmanager
def on_meta() -> Iterator[None]:
    """Runs use "meta", with optimisers configured as on a GPU."""
    generator, init = torch.Generator, Optimizers.__init__

    class CpuGenerator:
        def __new__(cls, _device: object = None) -> Any:
            return generator()

    def init_as_on_a_gpu(self: Optimizers, device: torch.device, *, accel: str) -> None:
        init(self, device, accel=accel)
        self._as_tensor = True

    adam = import_module("torch.optim.adam")
    with pytest.MonkeyPatch.context() as patch, OneDevice():
        patch.setattr(launch, "find_device", lambda _: torch.device("meta"))
        patch.setattr(Optimizers, "__init__", init_as_on_a_gpu)
        patch.setattr(adam, "_device_dtype_check_for_fused", lambda *_: None)
        patch.setattr(torch, "Generator", CpuGenerator)  # "meta" has none
        patch.setattr(torch.jit, "trace_module", lambda policy, *_, **__: policy)
        yield


REACH = ["--task", "reach-v3"]
MT3: dict[str, Any] = {
    "many": True,
    "env__num_envs": 6,
    "env__group_size": 2,
    "train__batch_size": 12,
}
RUNS: dict[str, dict[str, Any]] = {
    "sac": {"train__n_step": 3, "net__critic__kind": "hl_gauss", "sac__policy_delay": 2},
    "td3": {"algo": "td3", "net__critic__kind": "two_hot", "train__lr_schedule": "cosine"},
    "ddpg": {"algo": "ddpg", "env__reward_normalization": "ema", "net__normalize_obs": True},
    "soft modules": MT3
    | {"net__kind": "soft_module", "sac__temperature_weights": True}
    | {"net__soft_module": {"module_hidden": 6, "gating_hidden": 7}},
    "gradients and embeddings": MT3
    | {"train__gradients": "pcgrad", "sac__grad_clip": 1.0}
    | {"net__task_input": "embedding", "net__norm": "layer"},
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_and_its_resume_stay_on_one_device(tmp_path: Path, name: str) -> None:
    run = RUNS[name] | {"train__eval_interval": 1, "train__save_interval": 1}
    tasks = ["--config", "mt3"] if run.get("many") else REACH
    with on_meta():
        train(tmp_path, *tasks, **run)
        train(tmp_path, *tasks, "--resume", **run, train__num_epochs=3)


def test_starting_from_another_run_stays_on_one_device(tmp_path: Path) -> None:
    source = train(tmp_path / "source", "--config", "mt3", **MT3, train__save_interval=1)
    parts = ["actor", "critic", "alpha", "buffer"]
    with on_meta():
        train(tmp_path, "--config", "mt3", "--init_from", source, **MT3, transfer__load=parts)


def test_demonstrations_stay_on_one_device(tmp_path: Path) -> None:
    demos = tmp_path / "reach.safetensors"
    env = EnvConfig(tasks=["reach-v3"], max_episode_frames=15, num_goals=6)
    write(demos, record(env, episodes=2, seed=1))
    with on_meta():
        train(tmp_path, *REACH, train__demos=str(demos), train__bc_updates=2, sac__bc_weight=1.0)
