"""A signal at any stage ends a run in time, and leaves nothing behind but the last checkpoint."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import SHARED_MEMORY, outlive, session_of

from torchrl_lite.checkpoint.lock import locked
from torchrl_lite.checkpoint.store import Store
from torchrl_lite.command.launch import main

ROOT = Path(__file__).parents[2]
TASK = "reach-v3"
TINY = {
    "env.max_episode_frames": 15,
    "env.num_envs": 2,
    "net.hidden_shapes": [8],
    "replay_buffer.size": 1000,
    "train.epoch_frames": 10,
    "train.opt_steps": 2,
    "train.pretrain_epochs": 2,
    "train.num_epochs": 2,
    "train.batch_size": 8,
    "train.eval_interval": 2,
    "train.eval_episodes": 2,
    "train.final_eval_episodes": 1,
    "train.save_interval": 1,
    "system.threads": 1,
    "system.workers": 0,
}
# At its stage the run, or each of its workers, says so and waits for what comes. The compiler
# works on: the signal reaches it somewhere.
STAGES = """
import sys, threading
from torchrl_lite.command import launch
from torchrl_lite.collector import rollout

def reached(*_, **__):
    print("reached", flush=True)
    if stage != "compiling":
        threading.Event().wait()

stage = sys.argv[1]
if stage == "building":
    rollout.make_task_env = reached
if stage == "evaluating":
    rollout.Rollout.evaluate = reached

if __name__ == "__main__":
    if stage == "compiling":
        from torch._inductor import compile_fx
        compile_graph = compile_fx.compile_fx
        def told(*args, **options):
            reached()
            return compile_graph(*args, **options)
        compile_fx.compile_fx = told
    sys.exit(launch.main("sac", sys.argv[2:]))
"""


def command(log_dir: Path, **changes: object) -> list[str]:
    fields = TINY | {key.replace("__", "."): value for key, value in changes.items()}
    sets = [part for k, v in fields.items() for part in ("--set", f"{k}={json.dumps(v)}")]
    flags = ["--task", TASK, "--device", "cpu", "--id", "x", "--log_dir", str(log_dir)]
    return [*flags, *sets]


@pytest.mark.parametrize(
    ("stage", "workers", "number", "group"),
    [
        ("building", 0, signal.SIGINT, True),
        ("building", 2, signal.SIGTERM, True),
        ("evaluating", 0, signal.SIGTERM, False),
        ("evaluating", 2, signal.SIGINT, True),
        ("compiling", 0, signal.SIGTERM, True),
    ],
    ids=["building", "workers build", "evaluating", "workers evaluate", "compiling"],
)
def test_a_signal_ends_every_stage_and_leaves_the_last_checkpoint(
    tmp_path: Path, stage: str, workers: int, number: signal.Signals, group: bool
) -> None:
    if stage == "compiling" and shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")
    accel = {"system__accel": "compile" if stage == "compiling" else "eager"}
    assert main("sac", [*command(tmp_path, **accel), "--until", "20"]) == 0  # random actions only
    script, shared_before = tmp_path / "stages.py", set(SHARED_MEMORY.iterdir())
    script.write_text(STAGES)
    argv = [*command(tmp_path, **accel, system__workers=workers), "--resume"]
    with (tmp_path / "stderr").open("w+") as err:
        process = subprocess.Popen(
            [sys.executable, str(script), stage, *argv],
            env=os.environ
            | {
                "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1",
                "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
            },
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert any("reached" in line for line in process.stdout)  # of two at once, maybe
        members = session_of(process.pid)
        (os.killpg if group else os.kill)(process.pid, number)
        process.stdout.read()
        code = process.wait()
        survivors = outlive(members | session_of(process.pid), 30)
        for pid in survivors:
            os.kill(pid, signal.SIGKILL)
        err.seek(0)
        said = err.read()
    assert code == 128 + number, said
    assert survivors == set()
    assert set(SHARED_MEMORY.iterdir()) == shared_before
    assert said.splitlines()[-1].startswith(f"stopped by {number.name}; --resume")

    run = tmp_path / "x" / TASK / "1"
    with locked(run):  # by nobody else
        saved, damaged = Store(run / "checkpoint", keep=2).newest()
    assert saved is not None and not damaged
    assert saved.state["epoch"] == (2 if stage == "compiling" else 1)
    if stage != "compiling":  # the checks of shapes in these tests cannot be compiled
        assert main("sac", [*command(tmp_path), "--resume"]) == 0
