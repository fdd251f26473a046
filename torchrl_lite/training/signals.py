"""Handling of SIGINT, SIGTERM and SIGHUP."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn, Self


def stopping() -> list[signal.Signals]:
    """The signals that stop a run. A closed terminal sends SIGHUP, which `nohup` has ignored."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP])]


class Interrupted(BaseException):
    """Ends the run at once; the last checkpoint remains valid."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class SignalGuard:
    """Gives a running epoch ``grace`` seconds to finish, then raises `Interrupted`.

    The first signal within an epoch sets ``requested``, and the loop stops at the epoch's end. The
    run ends at once if the epoch does not end in time, if a second signal arrives, or if the signal
    arrives outside an epoch. Signals within one second count as one: a terminal and a scheduler
    both signal the whole process group.

    `Interrupted` is raised repeatedly until the guard is left. Python drops exceptions raised in
    callbacks of weak references (a compiler has thousands), and a foreign ``except:`` catches
    everything. If foreign code turns it into another error, leaving the guard raises it again.
    """

    AGAIN = 5.0
    """Seconds between repeated exceptions; cleanup takes less."""

    def __init__(self, grace: float) -> None:
        self.requested: int | None = None
        self._grace = grace
        self._in_epoch = False
        self._first = 0.0
        self._ended_by: int | None = None

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """Wraps work worth finishing: an epoch with its logging and saving."""
        self._in_epoch = True
        try:
            yield
        finally:
            self._in_epoch = False

    def __enter__(self) -> Self:
        self._old = {number: signal.signal(number, self._on_signal) for number in stopping()}
        self._old[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._on_alarm)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._old.items():
            signal.signal(number, handler)
        if self._ended_by is not None and isinstance(error, Exception):
            raise Interrupted(self._ended_by) from error

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.requested is not None:
            if now - self._first < 1:
                return
            self._end(signum)
        self.requested, self._first = signum, now
        if not self._in_epoch or self._grace == 0:
            self._end(signum)
        name = signal.Signals(signum).name
        message = (
            f"\n{name}: stopping after this epoch or in {self._grace:g} s; repeat to end at once\n"
        )
        with suppress(OSError):  # stderr may be closed
            os.write(2, message.encode())  # print is not reentrant
        signal.setitimer(signal.ITIMER_REAL, self._grace)

    def _on_alarm(self, _signum: int, _frame: FrameType | None) -> None:
        assert self.requested is not None
        self._end(self.requested)

    def _end(self, signum: int) -> NoReturn:
        self._ended_by = signum
        signal.setitimer(signal.ITIMER_REAL, self.AGAIN)
        raise Interrupted(signum)
