"""Before a starter's work, a signal is one line; that flags need no torch is in `test_cli`."""

import os
import signal
import subprocess
import sys

import pytest
from tiny_runs import ROOT

from torchrl_lite.training.signals import Interrupted, SignalGuard

# A signal at the import of each of these, the first and the last of a starter's own.
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
    [
        ("st_sac.py", "argparse", signal.SIGINT),
        ("st_sac.py", "torchrl_lite.reporting.streams", signal.SIGINT),
        ("mt_td3.py", "torch.nn.functional", signal.SIGTERM),
        ("play.py", "scipy.stats", signal.SIGINT),
        ("sweep.py", "torch", signal.SIGTERM),
    ],
)
def test_a_signal_while_a_starter_imports_is_one_line(
    starter: str, module: str, number: signal.Signals
) -> None:
    argv = {"play.py": ["--pretrained", "x"], "sweep.py": ["--starter", "st_sac"]}
    flags = argv.get(starter, [])
    path = str(ROOT / "starter" / starter)
    done = subprocess.run(
        [sys.executable, "-c", AT_IMPORT, module, str(int(number)), path, *flags],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 128 + number
    assert done.stderr == f"stopped by {number.name}\n"


# --- the guard -----------------------------------------------------------------------------------


def test_a_signal_that_foreign_code_turns_into_an_error_is_still_a_signal() -> None:
    with pytest.raises(Interrupted, match="SIGTERM"), SignalGuard(grace=0.0):
        try:
            signal.raise_signal(signal.SIGTERM)
        except Interrupted as error:
            raise RuntimeError("cannot import torch._dynamo") from error
