"""A run in TensorBoard: curves, hyperparameters and films in one event file."""

import json
import re
import threading
import time
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams as hparam_summaries

from torchrl_lite.reporting.console import Row
from torchrl_lite.reporting.film import Film, as_gif

LAYOUT = {
    "tasks": {
        "success": ["Multiline", ["^eval_success/"]],
        "return": ["Multiline", ["^eval_return/"]],
        "temperature": ["Multiline", ["^train_alpha/"]],
    },
    "all tasks together": {
        "success": [
            "Multiline",
            ["^eval/success_rate$", "^rollout/success_rate$", "^stage/success$"],
        ],
        "return": ["Multiline", ["^eval/return$", "^rollout/ep_rew_mean$"]],
        "loss of the critics": ["Multiline", ["^train/q[0-9]+_loss$", "^eval/td_error$"]],
    },
}
"""Charts of the page "custom scalars", each with the names it shows, as regular expressions."""


class Board:
    """Writes one event file, with the names of ``log.csv``."""

    def __init__(self, folder: Path, *, keep_until: int = 0) -> None:
        """Hides points after frame ``keep_until``: a resumed run writes them again."""
        _order_before(int(time.time()), folder)
        self._hook, threading.excepthook = threading.excepthook, self._on_thread_error
        self._writer = SummaryWriter(str(folder), purge_step=keep_until + 1)
        self._end: Summary | None = None

    def describe(self, values: Mapping[str, object], metrics: Sequence[str]) -> None:
        """Writes the hyperparameters for "hparams" (lists only if numeric) and its final metrics.

        `SummaryWriter.add_hparams` would create a separate run below this one.
        """
        shown = {key: text for key, value in values.items() if (text := _shown(value)) is not None}
        experiment, start, self._end = hparam_summaries(shown, dict.fromkeys(metrics, 0.0))
        for summary in (experiment, start):
            self._add(summary)
        self._writer.add_custom_scalars(LAYOUT)

    def row(self, row: Row, *, frames: int) -> None:
        for key, value in row.items():
            self._writer.add_scalar(key, value, frames)

    def text(self, name: str, text: str, *, frames: int) -> None:
        self._writer.add_text(name, text, frames)

    def film(self, task: str, film: Film, _path: Path, *, frames: int) -> None:
        """Writes an animated image of half the size, like `SummaryWriter.add_video` but without
        moviepy."""
        gif = as_gif(film, reduced=2)
        width, height = Image.open(BytesIO(gif)).size
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
        self._add(Summary(value=[Summary.Value(tag=f"video/{task}", image=image)]), frames)

    def final(self, metrics: Row, *, frames: int) -> None:
        self.row(metrics, frames=frames)
        if self._end is not None:
            self._add(self._end)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        try:
            self._writer.close()
        finally:
            threading.excepthook = self._hook

    def _on_thread_error(self, args: threading.ExceptHookArgs) -> None:
        """The thread that writes raises its error again in the next call, which is enough."""
        if not type(args.thread).__module__.startswith("tensorboard."):
            self._hook(args)

    def _add(self, summary: Summary, frames: int | None = None) -> None:
        assert self._writer.file_writer is not None, "not closed yet"
        self._writer.file_writer.add_summary(summary, frames)


def _order_before(now: int, folder: Path) -> None:
    """Lets the event files of earlier parts of a run sort before a file that begins now.

    TensorBoard reads them by name, which begins with the time of their start. A clock that was set
    back would put the newest part first, and the older ones would hide its points.
    """
    late: list[tuple[Path, str]] = []
    for path in sorted(folder.glob("events.out.tfevents.*"), reverse=True):
        match = re.fullmatch(r"(events\.out\.tfevents\.)(\d{10})(\..*)", path.name)
        if match is None:
            continue
        if int(match[2]) >= now:
            late.append((path, f"{match[1]}{now - 1:010d}{match[3]}"))
        now = min(now - 1, int(match[2]))
    for path, name in reversed(late):  # the oldest first, so that none takes another's name
        path.rename(path.with_name(name))


def _shown(value: object) -> str | int | float | None:
    if isinstance(value, bool | list):
        named = isinstance(value, list) and not all(isinstance(part, int | float) for part in value)
        return None if named else json.dumps(value)
    return value if isinstance(value, str | int | float) else None
