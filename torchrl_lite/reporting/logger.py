"""Logs one row per epoch, under the same names in every output."""

import csv
import io
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from torchrl_lite.checkpoint.files import write_atomically
from torchrl_lite.config.reading import reason
from torchrl_lite.errors import RunError
from torchrl_lite.reporting.console import Row, View
from torchrl_lite.reporting.film import Film, write_film
from torchrl_lite.reporting.rows import rows_until
from torchrl_lite.reporting.tensorboard import Board

METRICS = ("eval/success_rate", "eval/return", "final/success_rate", "final/return")
"""What TensorBoard compares runs by."""
KINDS = ("mean", "last")
"""What is logged of a number in ``info``, over an episode."""


def columns(
    tasks: Sequence[str],
    train_names: Sequence[str],
    more: Sequence[str] = (),
    *,
    info: Sequence[str] = (),
) -> list[str]:
    """The header of ``log.csv``, fixed before the first epoch; ``info``: names in ``log.info``."""
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
        "time/cpu_s",
        "updates",
        "eval/ep_len_mean",
        "eval/td_error",
        *(f"eval_length/{task}" for task in tasks),
        "rollout/success_rate",
        *(f"rollout_success/{task}" for task in tasks),
        *(f"rollout_return/{task}" for task in tasks),
        *(f"info_{kind}/{name}/{task}" for name in info for kind in KINDS for task in tasks),
        "eval/q",
        "eval/q_bias",
        *(f"eval_q_bias/{task}" for task in tasks),
        "eval/saturated",
        "eval/dead_actor",
        "eval/dead_critic",
        *(["eval/gradient_cosine"] if len(tasks) > 1 else []),
        *more,
    ]


class Sink(Protocol):
    """A destination besides ``log.csv``: TensorBoard, Weights & Biases."""

    def row(self, row: Row, *, frames: int) -> None: ...

    def film(self, task: str, film: Film, path: Path, /, *, frames: int) -> None:
        """``path`` is the same film as a file."""

    def final(self, metrics: Row, *, frames: int) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class Logger:
    """Writes rows; a value that was not measured is an empty cell, never nan."""

    def __init__(
        self,
        folder: Path,
        header: Sequence[str],
        view: View,
        *,
        keep_until: int = 0,
    ) -> None:
        """Drops rows after frame ``keep_until``: a resumed run writes them again."""
        self._folder, self._header, self._view = folder, list(header), view
        path = folder / "log.csv"
        kept = rows_until(path, keep_until)
        write_atomically(path, lambda file: _write_log(file, kept, header))
        self._file = path.open("a", encoding="utf-8", newline="")
        with self._writing():
            self._board = Board(folder, keep_until=keep_until)
        self._sinks: list[Sink] = [self._board]

    def add_sink(self, sink: Sink) -> None:
        """Adds a destination, which `close` closes."""
        self._sinks.append(sink)

    def describe(self, values: Mapping[str, object]) -> None:
        """Passes hyperparameters to TensorBoard, which compares runs by them and by `METRICS`."""
        with self._writing():
            self._board.describe(values, METRICS)

    def dump(self, row: Row, *, best: float | None) -> None:
        """Logs an epoch.

        Raises:
            KeyError: a name is not in the header.
            RunError: the log cannot be written.
        """
        unknown = row.keys() - set(self._header)
        if unknown:
            raise KeyError(f"not in the header of log.csv: {', '.join(sorted(unknown))}")
        clean = {key: value for key, value in row.items() if finite(value) is not None}
        frames = int(clean["total_frames"] or 0)
        shown = {key: value for key, value in clean.items() if key != "total_frames"}  # the x-axis
        with self._writing():
            _writer(self._file, self._header).writerow(clean)
            self._file.flush()
            for sink in self._sinks:
                sink.row(shown, frames=frames)
        self._view.epoch(clean, best=best)

    def mark(self, name: str, text: str, *, frames: int) -> None:
        """Logs an event between epochs, on the console and as text in TensorBoard."""
        with self._writing():
            self._board.text(name, text, frames=frames)
        self._view.say(text)

    def film(self, task: str, film: Film, *, frames: int) -> None:
        """Logs a film of one task and writes it to ``video/<frames>_<task>.mp4``."""
        name = task.replace("/", "_")
        path = self._folder / "video" / f"{frames}_{name}.mp4"
        write_film(path, film)
        for sink in self._sinks:
            sink.film(name, film, path, frames=frames)

    def final(self, evaluation: Row, *, frames: int) -> None:
        """Logs the final evaluation as ``final/...``; ``result.json`` keeps the original names."""
        names = _final_names(self._header)
        metrics = {
            names[k]: v for k, v in evaluation.items() if k in names and finite(v) is not None
        }
        with self._writing():
            for sink in self._sinks:
                sink.final(metrics, frames=frames)

    def flush(self) -> None:
        """Writes everything so far to disk; called before each checkpoint."""
        with self._writing():
            self._file.flush()
            os.fsync(self._file.fileno())
            for sink in self._sinks:
                sink.flush()

    def close(self) -> None:
        with self._writing():
            self._file.close()
            for sink in self._sinks:
                sink.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """
        Raises:
            RunError: a full disk, or a folder that is read-only.
        """
        try:
            yield
        except OSError as error:
            raise RunError(
                f"{self._folder}: the log cannot be written ({reason(error)})"
            ) from error


def _final_names(header: Sequence[str]) -> dict[str, str]:
    """``eval/success_rate`` to ``final/success_rate`` etc.; per task only if there are several."""
    several = sum(name.startswith("eval_return/") for name in header) > 1
    kinds = ("eval_success/", "eval_return/") if several else ()
    names = [name for name in header if name in ("eval/success_rate", "eval/return")]
    names += [name for name in header if name.startswith(kinds)]
    return {name: name.replace("eval", "final", 1) for name in names}


def finite(value: float | int | None) -> float | int | None:
    """The value, or None if it is not finite: an empty cell, null in JSON."""
    return value if value is not None and math.isfinite(value) else None


def _write_log(file: BinaryIO, rows: Iterable[Mapping[str, object]], header: Sequence[str]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = _writer(text, header)
    writer.writeheader()
    writer.writerows(rows)
    text.detach()  # else it would close the file


def _writer(file: io.TextIOWrapper, header: Sequence[str]) -> "csv.DictWriter[str]":
    return csv.DictWriter(file, header, restval="", lineterminator="\n")
