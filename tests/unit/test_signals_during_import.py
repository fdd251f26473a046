"""Signals while a starter imports its packages; `test_cli` checks that flags need no torch."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import ROOT, SAVED, TASK, one_line, sets

from torchrl_lite.training.signals import Interrupted, SignalGuard


def python(*argv: str | Path, **options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, argv)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | options,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


AT_IMPORT = """
import os, runpy, signal, sys
from importlib.abc import MetaPathFinder

class Finder(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == module:
            os.kill(os.getpid(), number)
        return None

module, number, *sys.argv = sys.argv[1:]
number = int(number)
sys.meta_path.insert(0, Finder())
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(
    ("starter", "module", "number"),
    [  # the signal arrives as the module is imported, early or late
        ("st_sac.py", "argparse", signal.SIGINT),
        ("st_sac.py", "torchrl_lite.reporting.streams", signal.SIGINT),
        ("mt_td3.py", "torch.nn.functional", signal.SIGTERM),
        ("play.py", "scipy.stats", signal.SIGHUP),
        ("sweep.py", "torch", signal.SIGTERM),
    ],
)
def test_a_signal_while_a_starter_imports_ends_it_with_one_line(
    starter: str, module: str, number: signal.Signals
) -> None:
    argv = {"play.py": ["--pretrained", "x"], "sweep.py": ["--starter", "st_sac"]}
    flags = argv.get(starter, [])
    done = python("-c", AT_IMPORT, module, str(int(number)), ROOT / "starter" / starter, *flags)
    assert done.returncode == 128 + number
    assert done.stderr == f"stopped by {number.name}\n"


@pytest.mark.parametrize("argv", [("st_sac.py", "--task", TASK), ("sweep.py", "--starter=st_sac")])
def test_a_rendering_backend_that_does_not_work_is_a_one_line_error(argv: tuple[str, ...]) -> None:
    """MuJoCo takes it at import, although nothing is rendered."""
    done = python(ROOT / "starter" / argv[0], *argv[1:], MUJOCO_GL="watercolour")
    assert done.returncode == 2
    one_line(done.stderr, "error: MUJOCO_GL=watercolour does not work here", "unset it")


# --- the guard -----------------------------------------------------------------------------------


def test_a_signal_that_other_code_turns_into_an_error_is_still_a_signal() -> None:
    with pytest.raises(Interrupted, match="SIGTERM"), SignalGuard(grace=0.0):
        try:
            signal.raise_signal(signal.SIGTERM)
        except Interrupted as error:
            raise RuntimeError("cannot import torch._dynamo") from error


PROBE = """
import sys
from torchrl_lite.command.launch import main
from torchrl_lite.training.rl_algo import RLAlgo
from torchrl_lite.training.signals import SignalGuard

enter, train = SignalGuard.__enter__, RLAlgo.train
before = set()

def entered(self):
    before.update(sys.modules)
    return enter(self)

def trained(self):
    print(sorted(name for name in set(sys.modules) - before if name[:6] == "torch."))
    return train(self)

SignalGuard.__enter__, RLAlgo.train = entered, trained
assert main("sac", ["--until", "10", *sys.argv[1:]]) == 0
assert main("sac", ["--until", "20", "--resume", *sys.argv[1:]]) == 0
"""


def test_building_a_run_imports_no_torch_modules_within_the_guard(tmp_path: Path) -> None:
    """In a new process, since this one has imported everything."""
    argv = ["--task", TASK, "--device", "cpu", "--log_dir", tmp_path, *sets(SAVED)]
    done = python("-c", PROBE, *argv, OMP_NUM_THREADS="1")
    assert [line for line in done.stdout.splitlines() if line[:1] == "["] == ["[]"] * 2, done
