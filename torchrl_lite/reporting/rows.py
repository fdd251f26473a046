"""Reads ``log.csv`` back, for resumed runs, plots and sweeps: row by row, since it may be larger
than memory."""

import csv
import math
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from torchrl_lite.config.reading import open_regular, reason
from torchrl_lite.errors import UserError

MAX_LINE = 2**24
"""Maximum size of a line in bytes; with 50 tasks, a row takes about 4 kB."""
_WITHOUT = "restore the file, or move it away to resume without its rows"
Cells = dict[str, str]
"""A row: each cell by its column, a number or empty."""


def read_rows(path: Path, *, open_end: bool = False) -> Iterator[Cells]:
    """The rows of a ``log.csv``. A last line without an end, of a killed or running run, is left
    out; with ``open_end``, only if it lacks cells.

    What spreadsheets change is ignored: a byte order mark, other line endings, no commas before the
    empty cells at the end of a row.

    Raises:
        UserError: it is not in the format a run writes.
        FileNotFoundError: it does not exist.
    """
    try:
        with open_regular(path) as file:
            yield from _checked(csv.DictReader(_lines(file, open_end), restval=""))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason(error)})") from None
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: is damaged, or not written by a run ({error})") from None


def _lines(file: BinaryIO, open_end: bool) -> Iterator[str]:
    encoding, number, commas = "utf-8-sig", 0, 0
    while line := file.readline(MAX_LINE):
        number += 1
        if not line.endswith(b"\n"):
            if len(line) == MAX_LINE:
                raise ValueError(f"line {number} is longer than {MAX_LINE} bytes")
            if number == 1:  # a run writes its header at once
                raise ValueError("the header has no end")
            if not open_end or line.count(b",") < commas or _is_torn(line):
                return
        commas = commas or line.count(b",")
        yield line.decode(encoding)
        encoding = "utf-8"


def _is_torn(line: bytes) -> bool:
    """Whether its last cell is no number."""
    try:
        float(line.rpartition(b",")[2] or 0)
    except ValueError:
        return True
    return False


def _checked(rows: "csv.DictReader[str]") -> Iterator[Cells]:
    frames = -math.inf
    for name in ("epoch", "total_frames"):
        if rows.fieldnames is not None and name not in rows.fieldnames:
            raise ValueError(f"the header has no {name}")
    for row in rows:
        if None in row:
            raise ValueError(f"line {rows.line_num} has more cells than the header")
        _check_numbers(row, rows.line_num)
        for name in ("epoch", "total_frames"):
            if not math.isfinite(float(row[name] or "nan")):
                raise ValueError(f"line {rows.line_num} has no {name}")
        if float(row["total_frames"]) <= frames:
            raise ValueError(f"line {rows.line_num} is not after the line before it")
        frames = float(row["total_frames"])
        yield row


def _check_numbers(row: Cells, line: int) -> None:
    for name, cell in row.items():
        try:
            float(cell or 0)
        except ValueError:
            wrong = f"{name[:40]!r} in line {line} is {cell[:40]!r}, not a number"
            raise ValueError(wrong) from None


class Past(NamedTuple):
    """What the log of a resumed run says about it."""

    columns: Sequence[str]
    """Empty without rows."""
    epochs: int
    core_hours: float
    latest: list[dict[str, float | int | None]]
    """The measured values of the latest epochs, after those of two evaluations before them."""


def read_past(path: Path, frames: int, count: int) -> Past:
    """The log up to frame ``frames``, with ``count`` latest epochs; empty without a log.

    Raises:
        UserError: it is not in the format a run writes.
    """
    columns: Sequence[str] = ()
    epochs, core_hours = 0, 0.0
    evaluated: list[Cells] = []
    latest: deque[Cells] = deque()
    for row in _rows_of_resumed(path):
        columns = columns or list(row)
        if float(row["total_frames"]) > frames:
            continue
        epochs += 1
        core_hours += float(row.get("time/cpu_s") or 0) / 3600
        latest.append(row)
        if len(latest) > count and (earlier := latest.popleft()).get("eval/return"):
            evaluated = [*evaluated[-1:], earlier]
    return Past(columns, epochs, core_hours, [_measured(row) for row in (*evaluated, *latest)])


def rows_until(path: Path, frames: int) -> Iterator[Cells]:
    """The rows up to frame ``frames``, for a resumed run; none without a log.

    Raises:
        UserError: it is not in the format a run writes.
    """
    return (row for row in _rows_of_resumed(path) if float(row["total_frames"]) <= frames)


def check_columns(path: Path, columns: Sequence[str], header: Sequence[str]) -> None:
    """
    Raises:
        UserError: these columns of a log are not those of a run with this header.
    """
    unknown = [name[:40] for name in columns if name not in header]
    if unknown:
        raise UserError(f"{path}: unknown column {unknown[0]!r}; {_WITHOUT}")


def _rows_of_resumed(path: Path) -> Iterator[Cells]:
    try:
        # Rows up to a checkpoint were complete on disk before it: one that has no end was edited.
        yield from read_rows(path, open_end=True)
    except FileNotFoundError:
        return
    except UserError as error:
        raise UserError(f"{error}; {_WITHOUT}") from None


def _measured(row: Cells) -> dict[str, float | int | None]:
    return {name: _number(cell) for name, cell in row.items() if cell}


def _number(cell: str) -> float | int:
    value = float(cell)
    return int(value) if cell.isdecimal() else value
