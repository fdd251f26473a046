"""What SIGINT and SIGTERM mean to a run."""

import signal
import time
from types import FrameType, TracebackType
from typing import NoReturn, Self


class Interrupted(BaseException):
    """Ends the run at once; the last checkpoint stands."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class SignalGuard:
    """Lets an epoch that is nearly over finish; raises `Interrupted` where it is not.

    The first signal sets ``requested`` if the announced end is at most ``grace`` seconds away, and
    the loop stops there. If the end does not come within them, or a second signal comes, the run
    ends at once. Repeats within a second count as one: a terminal and a scheduler both signal the
    whole process group.

    `Interrupted` is raised again until the guard is left: Python drops what is raised in a
    callback of a weak reference (a compiler has thousands), and a foreign ``except:`` takes all.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)
    AGAIN = 5.0
    """Seconds; leaving takes less."""

    def __init__(self, grace: float) -> None:
        self.requested: int | None = None
        self._grace = grace
        self._expected_end: float | None = None
        self._first = 0.0

    def expect_end_in(self, seconds: float | None) -> None:
        """Announces how long the epoch, its evaluation and its checkpoint will take."""
        self._expected_end = None if seconds is None else time.monotonic() + seconds

    def __enter__(self) -> Self:
        self._old = {number: signal.signal(number, self._on_signal) for number in self.SIGNALS}
        self._old[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._on_alarm)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.requested is not None:
            if now - self._first < 1:
                return
            self._end(signum)
        self.requested, self._first = signum, now
        if self._expected_end is None or self._expected_end - now > self._grace:
            self._end(signum)
        signal.setitimer(signal.ITIMER_REAL, max(self._grace, 1e-3))

    def _on_alarm(self, _signum: int, _frame: FrameType | None) -> None:
        assert self.requested is not None
        self._end(self.requested)

    def _end(self, signum: int) -> NoReturn:
        signal.setitimer(signal.ITIMER_REAL, self.AGAIN)
        raise Interrupted(signum)
