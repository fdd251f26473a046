"""Reads ``log.csv`` back, for resumed runs, plots and sweeps."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from torchrl_lite.config.reading import read_bytes, reason
from torchrl_lite.errors import UserError

MAX_BYTES = 2**30
"""Maximum size of a log; with 50 tasks, a row takes about 4 kB."""
_WITHOUT = "restore the file, or move it away to resume without its rows"
Cells = dict[str, str]
"""A row: each cell by its column, a number or empty."""


def read_rows(path: Path) -> list[Cells]:
    """The rows of a ``log.csv``. An incomplete last line, of a killed or running run, is dropped.
    A byte order mark and other line endings, as spreadsheets write them, are ignored.

    Raises:
        UserError: it is not in the format a run writes.
        FileNotFoundError: it does not exist.
    """
    try:
        text = read_bytes(path, most=MAX_BYTES).decode("utf-8-sig")
        whole = text[: text.rfind("\n") + 1]
        return list(_checked(csv.DictReader(io.StringIO(whole, newline=""))))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason(error)})") from None
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: is damaged, or not written by a run ({error})") from None


def _checked(rows: "csv.DictReader[str]") -> Iterator[Cells]:
    for row in rows:
        if None in row:
            raise ValueError(f"line {rows.line_num} has more cells than the header")
        if None in row.values():  # incomplete
            continue
        for name, cell in row.items():
            _check_number(name, cell, rows.line_num)
        for name in ("epoch", "total_frames"):
            if not row.get(name):
                raise ValueError(f"line {rows.line_num} has no {name}")
        yield row


def _check_number(name: str, cell: str, line: int) -> None:
    try:
        if cell:
            float(cell)
    except ValueError:
        raise ValueError(f"{name[:40]!r} in line {line} is {cell[:40]!r}, not a number") from None


def latest_rows(path: Path, frames: int, count: int) -> list[dict[str, float | int | None]]:
    """The measured values of the ``count`` latest epochs up to frame ``frames``, after those of the
    latest evaluation; none without a log.

    Raises:
        UserError: it is not in the format a run writes.
    """
    past = [row for row in _rows_so_far(path) if float(row.get("total_frames") or "inf") <= frames]
    evaluated = [row for row in past[:-count] if row.get("eval/return")][-1:]
    return [
        {name: _number(cell) for name, cell in row.items() if cell}
        for row in [*evaluated, *past[-count:]]
    ]


def _number(cell: str) -> float | int:
    value = float(cell)
    return int(value) if cell.isdecimal() else value


def rows_until(path: Path, header: Sequence[str], frames: int) -> list[Cells]:
    """The rows up to frame ``frames``, for a resumed run with this header; none without a log.

    Raises:
        UserError: it is not the log of such a run.
    """
    rows = _rows_so_far(path)
    if rows:
        _check_columns(path, list(rows[0]), header)
    return [row for row in rows if row["total_frames"] and float(row["total_frames"]) <= frames]


def _rows_so_far(path: Path) -> list[Cells]:
    try:
        return read_rows(path)
    except FileNotFoundError:
        return []
    except UserError as error:
        raise UserError(f"{error}; {_WITHOUT}") from None


def _check_columns(path: Path, columns: Sequence[str], header: Sequence[str]) -> None:
    unknown = [name[:40] for name in columns if name not in header]
    if not unknown and "total_frames" in columns:
        return
    what = f"unknown column {unknown[0]!r}" if unknown else "no column 'total_frames'"
    raise UserError(f"{path}: {what}; {_WITHOUT}")
