"""A signal at any stage ends a run in time and leaves only the last checkpoint behind."""

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from tiny_runs import ROOT, TASK, folder_in, sets, start, stop
from tiny_runs import TINY as SMALLEST

from torchrl_lite.checkpoint.lock import locked
from torchrl_lite.checkpoint.store import Store

TINY = SMALLEST | {
    "env.max_episode_frames": 15,
    "env.num_envs": 2,
    "train.pretrain_epochs": 2,
    "train.num_epochs": 2,
    "train.eval_episodes": 2,
    "train.save_interval": 1,
}
# At the given stage, the run or each of its workers prints "reached" and blocks. Only compilation
# continues, so the signal interrupts it anywhere.
STAGES = """
import sys, threading
from torchrl_lite.command import launch
from torchrl_lite.collector import environments, evaluation

def reached(*_, **__):
    print("reached", flush=True)
    if stage != "compiling":
        threading.Event().wait()

stage = sys.argv[1]
if stage == "building":
    environments.make_task_env = reached
if stage == "evaluating":
    evaluation.Evaluation.run = reached

if __name__ == "__main__":
    if stage == "compiling":
        from torch._inductor import compile_fx
        compile_graph = compile_fx.compile_fx
        def announced(*args, **options):
            reached()
            return compile_graph(*args, **options)
        compile_fx.compile_fx = announced
    sys.exit(launch.main("sac", sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("stage", "workers", "number"),
    [
        ("building", 0, signal.SIGINT),
        ("evaluating", 1, signal.SIGHUP),  # as sent by a closing terminal
        ("compiling", 0, signal.SIGTERM),
    ],
)
def test_a_signal_ends_a_run_at_any_stage_and_keeps_the_last_checkpoint(
    tmp_path: Path, stage: str, workers: int, number: signal.Signals
) -> None:
    if stage == "compiling" and shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")
    fields = TINY | {"system.accel": "compile" if stage == "compiling" else "eager"}
    if stage != "building":  # these two could use up the default grace period
        fields |= {"system.grace_seconds": 1}
    assert start(tmp_path, *sets(fields), "--until", "20") == 0  # random actions only
    script = tmp_path / "stages.py"
    script.write_text(STAGES)
    own = ["--task", TASK, "--device", "cpu", "--id", "x", "--log_dir", str(tmp_path)]
    argv = [*own, *sets(fields | {"system.workers": workers}), "--resume"]
    env = {
        "PYTHONPATH": str(ROOT),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
        "TORCHINDUCTOR_VEC_ISA_OK": "1",  # probing the CPU's instruction set is slow
    }
    command = [sys.executable, str(script), stage, *argv]
    stopped = stop(command, number, after="reached", group=True, env=os.environ | env)
    assert stopped.code == 128 + number, stopped.err
    assert stopped.err.splitlines()[-1].startswith(f"stopped by {number.name}; --resume")

    run = folder_in(tmp_path)
    with locked(run):  # nobody else holds it
        saved, damaged = Store(run / "checkpoint", keep=2).newest()
    assert saved is not None and not damaged
    assert saved.state["epoch"] == (2 if stage == "compiling" else 1)
    if stage != "compiling":  # the tests' shape checks cannot be compiled
        assert start(tmp_path, *sets(fields), "--resume") == 0
