"""Compiled and CUDA-graph updates match those of eager mode."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import KINDS, error_of, make_learner, make_spec, random_block, through_a_file

from torchrl_lite.algo.accel import check
from torchrl_lite.algo.replay_buffer import ReplayBuffer

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "sac": ("sac", {}),
    "sac, targets every second update": ("sac", {"target_update_interval": 2}),
    "td3, delay 1": ("td3", {"policy_delay": 1}),
    "td3, delay 2": ("td3", {"policy_delay": 2}),
    "td3, delay 3": ("td3", {"policy_delay": 3}),
    "ddpg": ("ddpg", {}),
    "sac, hl_gauss": ("sac", {"net": {"critic": {"kind": "hl_gauss"}, "norm": "layer"}}),
    "td3, c51": ("td3", {"policy_delay": 2, "net": {"critic": {"kind": "c51"}}}),
    "sac, pcgrad": ("sac", {"gradients": "pcgrad"}),
    "td3, famo": ("td3", {"policy_delay": 2, "gradients": "famo"}),
    **{
        f"{algo}, {kind}": (algo, {"kind": kind, "policy_delay": 1})
        for algo in ("sac", "td3", "ddpg")
        for kind in KINDS
        if kind != "mlp"
    },
}


def trajectory(case: str, accel: str, device: torch.device) -> list[dict[str, float]]:
    """Metrics and parameter norms after each of four updates, whose state a new learner takes."""
    algo, config = CASES[case]
    spec = make_spec(2 if config.keys() & {"gradients", "kind"} else 1)
    own = {"hidden": (16, 16), "device": device, "accel": accel, "grad_clip": 1.0} | config
    learner = make_learner(algo, spec, **own)
    buffer = ReplayBuffer(spec, 500, device)
    tasks = range(spec.num_tasks)
    buffer.add_block(random_block(spec, 400), tasks)
    rows = []
    for update in range(4):
        learner.optimizers.schedule(0.5**update)
        learner.run(buffer, tasks, opt_steps=1, batch_size=16, n_step=3 if "net" in config else 1)
        weights = {name: float(p.detach().norm()) for name, p in learner.named_parameters()}
        rows.append(learner.flush() | weights)
    make_learner(algo, spec, **own).load_training_state(through_a_file(learner.training_state()))
    return rows


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("device", "cases"),
    [
        pytest.param("cpu", ["sac"], marks=needs_compiler, id="sac"),
        pytest.param("cpu", list(CASES), marks=[needs_compiler, pytest.mark.slow], id="all"),
        pytest.param("cuda", list(CASES), marks=[needs_gpu, pytest.mark.gpu], id="all on a GPU"),
    ],
)
def test_compiled_updates_match_eager_mode(device: str, cases: list[str]) -> None:
    """In a subprocess, since the compiler cannot trace the shape checks of the tests; in only one,
    since all delays share the compiled code."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TORCHINDUCTOR_VEC_ISA_OK": "1",  # trusts the CPU flags; compiling a check is slow
    }
    command = [sys.executable, __file__, device, *cases]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True)
    for case, (eager, compiled) in json.loads(printed.stdout).items():
        for one, other in zip(eager, compiled, strict=True):
            assert other == pytest.approx(one, rel=1e-4, abs=1e-5), case
        delay = CASES[case][1].get("policy_delay", 1)
        assert ["train/actor_loss" in one for one in compiled] == [
            update % delay == 0 for update in (1, 2, 3, 4)
        ]


@pytest.mark.parametrize(
    ("mode", "device", "message"),
    [
        ("graph", "cpu", "a CUDA graph needs a CUDA device"),
        ("compile", "cpu", "compile needs a compiler, but none-for-c++ is missing"),
        ("compile", "cuda", "compile needs a compiler, but none-for-c is missing"),
    ],
)
def test_an_unavailable_mode_is_rejected(
    mode: str, device: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "none-for-c++")
    monkeypatch.setenv("CC", "none-for-c")
    assert error_of(check, mode, torch.device(device)) == f"system.accel: {message}"


def assert_graphs_match(algo: str, kind: str, train: Callable[[Any], None], **config: Any) -> None:
    """Metrics and weights after ``train`` are those of eager mode."""
    results = []
    for accel in ("eager", "graph"):
        learner = make_learner(
            algo, make_spec(3), kind=kind, hidden=(32, 32), device=torch.device("cuda:0"),
            accel=accel, grad_clip=1.0, **config,
        )  # fmt: skip
        train(learner)
        results.append((learner.flush(), [p.detach().cpu() for p in learner.parameters()]))
    (metrics, weights), (other_metrics, other_weights) = results
    assert other_metrics == pytest.approx(metrics, rel=1e-4, abs=1e-5)
    torch.testing.assert_close(other_weights, weights, rtol=1e-4, atol=1e-6)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algo", ["sac", "td3", "ddpg"])
def test_graphs_match_eager_mode(algo: str, kind: str) -> None:
    def train(learner: Any) -> None:
        buffer = ReplayBuffer(learner.spec, 500, learner.device)
        buffer.add_block(random_block(learner.spec, 400), range(3))
        learner.run(buffer, range(3), opt_steps=8, batch_size=16)
        torch.cuda.set_sync_debug_mode("error")
        try:
            learner.run(buffer, range(3), opt_steps=12, batch_size=16)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    assert_graphs_match(algo, kind, train, target_update_interval=2, policy_delay=2)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_graphs_match_eager_mode_when_tasks_change(kind: str) -> None:
    """As in a curriculum: tasks join, leave while their data gets old, and return."""

    def train(learner: Any) -> None:
        buffer = ReplayBuffer(learner.spec, 100, learner.device, old_weight=0.25)
        for seed, tasks in enumerate([(0,), (0, 1), (2,), (0, 1, 2), (0,)]):
            buffer.retire([task for task in range(3) if task not in tasks])
            buffer.add_block(random_block(learner.spec, 80, seed=seed), tasks)
            learner.run(buffer, tasks, opt_steps=6, batch_size=16)

    assert_graphs_match("sac", kind, train)


if __name__ == "__main__":
    place = torch.device(sys.argv[1])
    print(json.dumps({case: [trajectory(case, accel, place) for accel in ("eager", "compile")]
                      for case in sys.argv[2:]}))  # fmt: skip
