"""What SIGINT, SIGTERM and SIGHUP do to a run."""

import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tiny_runs import folder_in, start

from torchrl_lite.command import launch
from torchrl_lite.training import signals
from torchrl_lite.training.signals import Interrupted, SignalGuard

GRACE = 20.0
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Clock:
    """A clock that only the test advances, and alarms that are only recorded."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.alarms: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def setitimer(self, _which: int, seconds: float, _interval: float = 0.0) -> None:
        self.alarms.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(signals.time, "monotonic", clock.monotonic)
    monkeypatch.setattr(signals.signal, "setitimer", clock.setitimer)
    return clock


@pytest.fixture
def idle(clock: Clock) -> Iterator[SignalGuard]:
    """A guard outside any epoch."""
    with SignalGuard(GRACE) as guard:
        assert clock.alarms == []
        yield guard


@pytest.fixture
def guard(idle: SignalGuard) -> Iterator[SignalGuard]:
    """A guard within an epoch."""
    with idle.finishing():
        yield idle


@pytest.mark.parametrize("signum", STOPPING, ids=lambda s: s.name)
def test_a_signal_lets_the_epoch_finish(
    guard: SignalGuard, signum: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    assert guard.requested is None
    signal.raise_signal(signum)
    assert guard.requested == signum
    assert capfd.readouterr().err == (
        f"\n{signum.name}: stopping after this epoch or in 20 s; repeat to end at once\n"
    )


def test_outside_an_epoch_the_run_ends_at_once(idle: SignalGuard) -> None:
    with idle.finishing():
        pass
    with pytest.raises(Interrupted, match="SIGHUP") as caught:
        signal.raise_signal(signal.SIGHUP)
    assert caught.value.signum == signal.SIGHUP
    assert not isinstance(caught.value, Exception)  # so that it is not caught as an error


@pytest.mark.usefixtures("clock")
def test_without_a_grace_period_a_signal_ends_the_run_at_once() -> None:
    with SignalGuard(0.0) as guard, guard.finishing(), pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGINT)


def test_signals_within_a_second_of_the_first_count_as_one(
    guard: SignalGuard, clock: Clock
) -> None:
    """They neither set another alarm nor prolong that second; after it, the run ends at once."""
    signal.raise_signal(signal.SIGTERM)
    for _ in range(3):
        clock.now += 0.333
        signal.raise_signal(signal.SIGINT)
    assert guard.requested == signal.SIGTERM
    assert clock.alarms == [GRACE]
    clock.now += 0.333
    with pytest.raises(Interrupted, match="SIGINT"):
        signal.raise_signal(signal.SIGINT)


def test_the_alarm_really_fires() -> None:
    with SignalGuard(0.001) as guard, guard.finishing(), pytest.raises(Interrupted, match="TERM"):
        signal.raise_signal(signal.SIGTERM)
        signal.pause()  # until the alarm, a millisecond later


def test_no_alarm_is_left_behind() -> None:
    with SignalGuard(GRACE) as guard, guard.finishing():
        signal.raise_signal(signal.SIGINT)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_swallowed_interruption_is_raised_again(idle: SignalGuard, clock: Clock) -> None:
    for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGALRM):
        with pytest.raises(Interrupted, match="SIGTERM"):
            signal.raise_signal(number)
    assert clock.alarms == [idle.AGAIN] * 3
    assert idle.AGAIN < GRACE


def test_an_interruption_in_a_weakref_callback_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python discards exceptions there, where an interrupted compiler often is."""
    monkeypatch.setattr(SignalGuard, "AGAIN", 0.01)
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)  # would report it
    key = SignalGuard(GRACE)
    with SignalGuard(GRACE), pytest.raises(Interrupted):
        reference = weakref.ref(key, lambda _: signal.raise_signal(signal.SIGTERM))
        del key
        assert reference() is None
        threading.Event().wait(20)  # cut short by the signal


@pytest.mark.parametrize("error", [None, RuntimeError, Interrupted])
def test_the_previous_handlers_are_restored(error: type[BaseException] | None) -> None:
    numbers = *STOPPING, signal.SIGALRM
    before = [signal.getsignal(signum) for signum in numbers]
    with suppress(RuntimeError, Interrupted), SignalGuard(GRACE):
        during = [signal.getsignal(signum) for signum in numbers]
        if error is Interrupted:
            signal.raise_signal(signal.SIGINT)
        elif error:
            raise error
    assert [signal.getsignal(signum) for signum in numbers] == before
    assert not set(during) & set(before)


def test_nohup_stays_in_effect() -> None:
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with SignalGuard(GRACE):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, old)


@pytest.mark.parametrize(
    ("file", "how"),
    [
        ("last_3.json", "continues from the last checkpoint"),
        ("best.pt", "starts again: nothing was saved"),
    ],
)
def test_a_stopped_run_says_what_resume_will_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    file: str,
    how: str,
) -> None:
    def interrupted(*_: object, **__: object) -> int:
        (folder / "checkpoint").mkdir(parents=True)
        (folder / "checkpoint" / file).touch()
        raise Interrupted(signal.SIGINT)

    folder = folder_in(tmp_path)
    monkeypatch.setattr(launch, "_run", interrupted)
    assert start(tmp_path) == 130
    assert capsys.readouterr().err == f"stopped by SIGINT; --resume {how}\n"
