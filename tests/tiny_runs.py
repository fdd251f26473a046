"""Runs of about a second: how to configure and start them in this process, and their output."""

import csv
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from helpers import complete_state
from processes import SHARED_MEMORY, session_of, still_alive

from torchrl_lite.command.flags import parse
from torchrl_lite.command.launch import main
from torchrl_lite.command.options import Request, request
from torchrl_lite.config.files import merge, nest

ROOT = Path(__file__).parents[1]
TASK = "reach-v3"
TINY: dict[str, Any] = {
    "env.max_episode_frames": 10,
    "net.hidden_shapes": [8],
    "replay_buffer.size": 1000,
    "train.epoch_frames": 10,
    "train.opt_steps": 2,
    "train.pretrain_epochs": 1,
    "train.num_epochs": 1,
    "train.batch_size": 8,
    "train.eval_interval": 2,
    "train.eval_episodes": 1,
    "train.final_eval_episodes": 1,
    "system.threads": 1,
    "system.workers": 0,
}
SHORT = TINY | {
    "env.max_episode_frames": 15,
    "train.num_epochs": 2,
    "train.eval_interval": 40,
    "train.eval_episodes": 2,
    "train.final_eval_episodes": 2,
}
"""Longer, and evaluated only at the end."""
SAVED = TINY | {"train.num_epochs": 4, "train.eval_interval": 10, "train.save_interval": 1}
"""Four epochs, each with a checkpoint, and one evaluation at the end."""
Row = dict[str, str]


def tree_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A nested configuration with these dotted fields."""
    tree: dict[str, Any] = {}
    for key, value in fields.items():
        tree = merge(tree, nest(key.split("."), value))
    return tree


def sets(fields: Mapping[str, Any]) -> list[str]:
    """``--set`` flags for these fields."""
    return [part for k, v in fields.items() for part in ("--set", f"{k}={json.dumps(v)}")]


def start(log_dir: Path, *argv: str, task: str = TASK) -> int:
    """Runs the experiment x and returns the exit code: 1 for an uncaught exception, as in a process
    of its own."""
    common = ["--task", task, "--device", "cpu", "--id", "x", "--log_dir", str(log_dir)]
    try:
        return main("sac", [*common, *argv])
    except Exception as error:
        print(error)
        return 1


def requested(*argv: str, multi_task: bool | None = False) -> Request:
    """What a command line asks for, without starting it."""
    return request(parse("sac", argv, multi_task=multi_task), "sac", multi_task=multi_task)


def run_starter(name: str, *arguments: object) -> Any:
    """Runs a starter in this process and returns its exit code."""
    path = str(ROOT / "starter" / f"{name}.py")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", [path, *map(str, arguments)])
        runpy.run_path(path, run_name="__main__")
    return end.value.code


def short(log_dir: Path, *flags: object, **changes: Any) -> list[str]:
    """Arguments of a starter for a run of `SHORT`; ``section__field=value`` changes a field."""
    fields = SHORT | {key.replace("__", "."): value for key, value in changes.items()}
    common = ["--device", "cpu", "--id", "x", "--log_dir", str(log_dir)]
    return [*common, *map(str, flags), *sets(fields)]


def train(
    log_dir: Path, *flags: object, algo: str = "sac", many: bool = False, **changes: Any
) -> Path:
    """Trains to the end and returns the run directory."""
    assert main(algo, short(log_dir, *flags, **changes), multi_task=many) == 0
    (params,) = (log_dir / "x").rglob("params.json")
    return params.parent


class Stopped(NamedTuple):
    code: int
    out: str
    err: str
    processes: int
    """How many there were before the signal."""


def stop(
    command: Sequence[str],
    number: signal.Signals,
    *,
    after: str,
    group: bool = False,
    env: Mapping[str, str],
) -> Stopped:
    """Starts a process and sends it, or its whole group, a signal once it has printed ``after``.

    Raises:
        AssertionError: a process or shared memory is left behind.
    """
    shared_before = set(SHARED_MEMORY.iterdir())
    with tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            command, env=env, text=True, start_new_session=True, stdout=subprocess.PIPE, stderr=err
        )
        assert process.stdout is not None
        out = ""
        for line in process.stdout:
            out += line
            if after in line:
                break
        members = session_of(process.pid)
        (os.killpg if group else os.kill)(process.pid, number)
        code = process.wait()
        survivors = still_alive(members | session_of(process.pid), 30)
        shared = set(SHARED_MEMORY.iterdir()) - shared_before
        for pid in survivors:
            os.kill(pid, signal.SIGKILL)
        out += process.stdout.read()
        err.seek(0)
        errors = err.read()
    assert survivors == shared == set(), errors
    return Stopped(code, out, errors, len(members))


def folder_in(log_dir: Path, task: str = TASK) -> Path:
    return log_dir / "x" / task / "1"


def one_line(error: str, *parts: str) -> None:
    """Asserts that ``error`` is one line that contains all these parts."""
    assert error.endswith("\n") and len(error.splitlines()) == 1, error
    assert all(part in error for part in parts), error


def rows_of(folder: Path) -> list[Row]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def results(folder: Path) -> list[Row]:
    """The rows of the log without timings."""
    return [
        {key: value for key, value in row.items() if not key.startswith(("time/", "rate/"))}
        for row in rows_of(folder)
    ]


def result_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def same_results(ours: Path, theirs: Path) -> bool:
    """Whether two runs ended with the same ``result.json``, wall time aside."""
    one, other = (result_of(folder) | {"wall_time_s": 0} for folder in (ours, theirs))
    return one == other


def state_of(folder: Path, name: str = "last") -> dict[str, Any]:
    if name == "last":
        return complete_state(folder)
    return torch.load(folder / "checkpoint" / f"{name}.pt", weights_only=True)


def assert_same_bits(a: Any, b: Any, where: str = "state") -> None:
    """Asserts that nested states are bit-identical, including tensors and arrays."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key, value in a.items():
            assert_same_bits(value, b[key], f"{where}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for index, value in enumerate(a):
            assert_same_bits(value, b[index], f"{where}[{index}]")
    elif isinstance(a, torch.Tensor | np.ndarray):
        assert (a.dtype, a.shape) == (b.dtype, b.shape), where
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), where
    else:
        assert a == b, f"{where}: {a!r}, not {b!r}"


def assert_same_run(folder: Path, uninterrupted: Path) -> None:
    """Asserts the same log and final state as those of an uninterrupted run."""
    assert results(folder) == results(uninterrupted), "log.csv"
    ours, theirs = state_of(folder), state_of(uninterrupted)
    for state in (ours, theirs):
        state.pop("wall_time")
        state.pop("config")
    assert_same_bits(ours, theirs)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every path below a folder, with its bytes and modification time."""
    return {
        str(path.relative_to(folder)): (
            path.read_bytes() if path.is_file() else b"",
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
    }
