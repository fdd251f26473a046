"""One row an epoch, under the same names in ``log.csv``, in TensorBoard and on the console."""

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from torchrl_lite.checkpoint import write_text
from torchrl_lite.console import Row, View


def columns(tasks: Sequence[str], train_names: Sequence[str]) -> list[str]:
    """The header of ``log.csv``: fixed before the first epoch."""
    return [
        "epoch",
        "total_frames",
        "stage",
        "rollout/ep_rew_mean",
        "rollout/ep_len_mean",
        "eval/success_rate",
        "eval/return",
        *(f"eval_success/{task}" for task in tasks),
        *(f"eval_return/{task}" for task in tasks),
        *(f"frames/{task}" for task in tasks),
        *train_names,
        "time/collect_s",
        "time/update_s",
        "time/eval_s",
        "time/save_s",
        "time/save_mb",
        "time/total_s",
        "rate/frames_per_second",
        "rate/updates_per_second",
        "eval/ep_len_mean",
        "eval/td_error",
        *(f"eval_length/{task}" for task in tasks),
    ]


class Logger:
    """Writes rows; a value that was not measured is an empty cell, never a nan."""

    def __init__(
        self, folder: Path, header: Sequence[str], view: View, *, keep_until: int = 0
    ) -> None:
        """Rows behind frame ``keep_until`` are dropped: the run that resumes writes them anew."""
        self._header = list(header)
        self._view = view
        path = folder / "log.csv"
        rows = _rows_until(path, keep_until) if path.exists() else []
        write_text(path, _csv([dict(zip(header, header, strict=True)), *rows], header))
        self._file = path.open("a", encoding="utf-8", newline="")
        self._board = SummaryWriter(str(folder), purge_step=keep_until + 1)

    def dump(self, row: Row, *, best: float | None) -> None:
        """One epoch.

        Raises:
            KeyError: a name that is not in the header.
        """
        unknown = row.keys() - set(self._header)
        if unknown:
            raise KeyError(f"not in the header of log.csv: {', '.join(sorted(unknown))}")
        clean = {key: value for key, value in row.items() if finite(value) is not None}
        self._file.write(_csv([clean], self._header))
        self._file.flush()
        frames = int(clean["total_frames"] or 0)
        for key, value in clean.items():
            if key != "total_frames":
                self._board.add_scalar(key, value, frames)
        self._view.epoch(clean, best=best)

    def flush(self) -> None:
        """Everything so far is on disk, as a checkpoint promises."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._board.flush()

    def close(self) -> None:
        self._file.close()
        self._board.close()


def finite(value: float | int | None) -> float | int | None:
    """The value, or None where it is no number: an empty cell, null in JSON."""
    return value if value is not None and math.isfinite(value) else None


def _rows_until(path: Path, frames: int) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values()]
    return [row for row in rows if row["total_frames"] and int(row["total_frames"]) <= frames]


def _csv(rows: Sequence[Mapping[str, object]], header: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, header, restval="", lineterminator="\n")
    writer.writerows(rows)
    return text.getvalue()
