"""Console output of a run: what a view shows, and the plain one, of a line per epoch."""

import sys
from collections.abc import Sequence
from typing import Protocol

Row = dict[str, float | int | None]


class View(Protocol):
    """Shows epochs, the phases within them, and progress towards the expected total of frames."""

    def expect(self, total_frames: int) -> None: ...

    def phase(self, name: str) -> None: ...

    def progress(self, done: int, total: int) -> None:
        """Within a phase: so many of its parts are done."""

    def resume(self, rows: Sequence[Row], *, best: float | None) -> None:
        """The latest epochs of a run that is resumed."""

    def epoch(self, row: Row, *, best: float | None) -> None: ...

    def say(self, text: str) -> None: ...

    def close(self) -> None: ...


def number(value: float | int | None, form: str) -> str:
    """A value, or a dash where there is none."""
    return "-" if value is None else format(value, form)


class PlainView:
    """One line per epoch, for files and pipes."""

    def __init__(self, title: str, tasks: Sequence[str], total_frames: int) -> None:
        self._total = total_frames
        self._tasks = tasks if len(tasks) > 1 else ()
        print(title, flush=True)

    def expect(self, total_frames: int) -> None:
        self._total = total_frames

    def phase(self, name: str) -> None:
        pass

    def progress(self, done: int, total: int) -> None:
        pass

    def resume(self, rows: Sequence[Row], *, best: float | None) -> None:
        pass

    def epoch(self, row: Row, *, best: float | None) -> None:
        shown = row if row.get("eval/success_rate") is None else row | {"best": best}
        parts = [f"epoch {row['epoch']}", f"frames {row['total_frames']}/{self._total}"]
        for key, label, form in (
            ("rollout/ep_rew_mean", "return", ".1f"),
            ("stage/success", "stage success", ".2f"),
            ("eval/success_rate", "eval success", ".2f"),
            ("eval/return", "eval return", ".1f"),
            ("best", "best success", ".2f"),
            ("train/alpha", "alpha", ".3g"),
            ("train/entropy", "entropy", ".2f"),
            ("train/q", "Q", ".1f"),
            ("rate/frames_per_second", "frames/s", ".0f"),
            ("rate/updates_per_second", "updates/s", ".0f"),
        ):
            if shown.get(key) is not None:
                parts.append(f"{label} {shown[key]:{form}}")
        print("  ".join(parts), flush=True)
        successes = [(task, row.get(f"eval_success/{task}")) for task in self._tasks]
        if any(value is not None for _, value in successes):
            texts = [f"{task} {number(value, '.2f')}" for task, value in successes]
            print("  success: " + "  ".join(texts), flush=True)

    def say(self, text: str) -> None:
        print(text, flush=True)

    def close(self) -> None:
        sys.stdout.flush()
