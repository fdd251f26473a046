"""The start of every starter: signals and streams, then flags, then the slow imports.

Nothing needs cleaning up before the actual work begins, so a signal ends the process at once. An
exception raised during an import could be replaced by another one, or lost.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from types import FrameType, ModuleType

TYPE_CHECKING = False  # a signal during an import before `begin` is a traceback, so few are here
if TYPE_CHECKING:
    from argparse import Namespace


def begin() -> None:
    """From here on, signals that stop a run print one line, and failing output does not end it."""
    if sys.platform == "win32":  # no fcntl, which locks a run directory
        print("error: torchrl_lite needs Linux; on Windows, use WSL 2", file=sys.stderr)
        raise SystemExit(2)
    if "ipykernel" in sys.modules:  # its streams are no files, and a signal would end the kernel
        print("error: in a notebook, use !python, or import torchrl_lite", file=sys.stderr)
        raise SystemExit(2)
    from torchrl_lite.training.signals import stopping

    for number in stopping():
        signal.signal(number, _end)
    from torchrl_lite.reporting.streams import make_safe

    make_safe()


def _end(number: int, _frame: FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, f"stopped by {signal.Signals(number).name}\n".encode())
    os._exit(128 + number)


def train(algo: str, *, multi_task: bool | None = False) -> int:
    """Runs a starter that trains one task, many, or (None) either; returns its exit code."""
    begin()
    from torchrl_lite.command import flags

    mistake = mistake_in(lambda: flags.parse(algo, sys.argv[1:], multi_task=multi_task))
    mistake = mistake or mistake_in(lambda: imported("torchrl_lite.command.launch"))
    if mistake:
        return mistake
    from torchrl_lite.command.launch import main

    return main(algo, multi_task=multi_task)


def imported(name: str) -> ModuleType:
    """The module, which may import MuJoCo.

    Raises:
        UserError: MuJoCo cannot be imported, because of ``MUJOCO_GL``.
    """
    try:
        return import_module(name)
    except (ImportError, AttributeError, RuntimeError):
        from torchrl_lite.env.rendering import check_backend

        check_backend()
        raise


def mistake_in(check: Callable[[], object]) -> int:
    """Reports wrong flags before torch is imported; returns the exit code, 0 if there are none."""
    from torchrl_lite.command.flags import answer

    def checked() -> int:
        check()
        return 0

    return answer(checked)


def command(
    parse: "Callable[[], Namespace]", run: "Callable[[Namespace], int]", *, needs: Sequence[str]
) -> int:
    """Runs any other starter; ``needs`` names the modules that ``run`` imports."""
    begin()
    from torchrl_lite.command.flags import answer

    def whole() -> int:
        args = parse()
        for name in needs:
            imported(name)
        from torchrl_lite.command.report import telling
        from torchrl_lite.training.signals import SignalGuard

        with SignalGuard(grace=0.0), telling():
            return run(args)

    return answer(whole)
