"""Files changed by a spreadsheet, an editor or a stranger: read, or rejected in one line."""

import math
import os
import re
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import error_of
from tiny_runs import SAVED, contents, folder_in, one_line, rows_of, sets, start

from torchrl_lite.analysis.runs import Run
from torchrl_lite.checkpoint.records import read_result, read_versions
from torchrl_lite.config import read_tree
from torchrl_lite.policies.load import load_policy
from torchrl_lite.policies.sources import read_source
from torchrl_lite.reporting.rows import read_past, rows_until


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log_dir = tmp_path_factory.mktemp("two")
    assert start(log_dir, *sets(SAVED), "--until", "20") == 0
    return log_dir


@pytest.fixture
def folder(two_epochs: Path, tmp_path: Path) -> Path:
    shutil.copytree(two_epochs, tmp_path, dirs_exist_ok=True)
    return folder_in(tmp_path)


# --- log.csv -------------------------------------------------------------------------------------

REJECTED: dict[str, Callable[[bytes], bytes]] = {
    "semicolons": lambda log: log.replace(b",", b";"),
    "extra column": lambda log: log.replace(b"\n", b",1\n").replace(b",1\n", b",mine\n", 1),
    "extra cells": lambda log: log + b"1" + b"," * 500 + b"\n",
    "invalid UTF-8": lambda log: log.replace(b"epoch", b"ep\xff\xfech"),
    "long field": lambda log: log + b'"' + b"x" * 200_000 + b'",\n',
    "word as a number": lambda log: log.replace(b"\n2,", b"\ntwo,"),
    "no header, one row": lambda log: log.split(b"\n")[2] + b"\n",
    "CR line ends": lambda log: log.replace(b"\n", b"\r"),
    "descending rows": lambda log: b"\n".join(log.split(b"\n")[i] for i in (0, 2, 1, 3)),
    "duplicate rows": lambda log: log + log.split(b"\n", 1)[1],
}


@pytest.mark.parametrize("edit", REJECTED)
def test_a_malformed_log_is_a_one_line_error_and_changes_no_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], edit: str
) -> None:
    log = folder / "log.csv"
    log.write_bytes(REJECTED[edit](log.read_bytes()))
    before = contents(folder)
    assert start(tmp_path, "--resume") == 2
    one_line(capsys.readouterr().err, str(log), "move it away to resume without its rows")
    assert contents(folder) == before


def test_a_sparse_log_of_two_gigabytes_is_a_one_line_error(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = folder / "log.csv"
    os.truncate(log, 2**31)  # a sparse file
    assert start(tmp_path, "--resume") == 2
    one_line(capsys.readouterr().err, f"{log}: is damaged", "line 4 is longer than 16777216 bytes")
    assert log.stat().st_size == 2**31


def test_a_log_is_read_row_by_row(tmp_path: Path) -> None:
    """So that runs with a log larger than memory resume; a plot keeps an array of its numbers."""
    path, cells = tmp_path / "log.csv", ",".join(map(str, range(1000, 1030)))
    with path.open("w") as file:
        file.write(",".join(["epoch", "total_frames", *(f"train/{i}" for i in range(30))]) + "\n")
        file.writelines(f"{epoch},{10 * epoch},{cells}\n" for epoch in range(1, 8_001))
    size = path.stat().st_size
    tracemalloc.start()
    try:
        past = read_past(path, 60_000, 10)
        assert (past.epochs, len(past.latest)) == (6_000, 10)
        assert past.latest[-1]["epoch"] == 6_000
        assert sum(1 for _ in rows_until(path, 60_000)) == 6_000
        assert tracemalloc.get_traced_memory()[1] < size / 4
        assert Run(tmp_path).log[-1]["total_frames"] == 80_000
        assert tracemalloc.get_traced_memory()[1] < 3 * size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("torn", [b"3,30,1.0,-", b"3,30,1.0,1e-", b"3,30,1.0" + bytes(9)])
def test_a_row_truncated_by_a_full_disk_is_dropped(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"epoch,total_frames,time/cpu_s,x\n1,10,1.0,0.5\n2,20,1.0,0.5\n" + torn)
    assert read_past(path, 20, 100).epochs == 2


def test_the_two_evaluations_before_the_latest_rows_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    with path.open("w") as file:
        file.write("epoch,total_frames,eval/return\n")
        for epoch in range(1, 31):
            file.write(f"{epoch},{10 * epoch},{1.0 if epoch % 10 == 0 else ''}\n")
    assert [row["epoch"] for row in read_past(path, 290, 5).latest][:3] == [10, 20, 25]


SPREADSHEETS: dict[str, Callable[[bytes], bytes]] = {
    "a byte order mark and CRLF": lambda log: b"\xef\xbb\xbf" + log.replace(b"\n", b"\r\n"),
    "an integer as a float": lambda log: log.replace(b"2,20,", b"2,20.0,"),
    "no trailing commas, as of Excel": lambda log: re.sub(rb",+\n", b"\n", log),
    "no final line end, as of Google": lambda log: log.rstrip(b"\n").replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("edit", SPREADSHEETS)
def test_a_log_saved_by_a_spreadsheet_keeps_all_rows(
    folder: Path, tmp_path: Path, edit: str
) -> None:
    def numbers() -> list[dict[str, float]]:
        return [{key: float(cell) for key, cell in row.items() if cell} for row in rows_of(folder)]

    log, before = folder / "log.csv", numbers()
    changed = SPREADSHEETS[edit](log.read_bytes())
    assert changed != log.read_bytes()
    log.write_bytes(changed)
    assert start(tmp_path, "--resume", "--until", "30") == 0
    assert numbers()[:-1] == before
    assert [row["epoch"] for row in numbers()] == [1, 2, 3]


@pytest.mark.parametrize("missing", [True, False])
def test_missing_rows_are_reported(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], missing: bool
) -> None:
    log = folder / "log.csv"
    log.unlink() if missing else log.write_text("")
    assert start(tmp_path, "--resume", "--until", "20") == 0
    assert "warning: log.csv has rows for 0 of 2 epochs" in capsys.readouterr().out


# --- result.json, versions.json, configurations --------------------------------------------------

DEEP, LONG = "[" * 100_000, "0" * 5000
DAMAGED = ["", "[]", "{}", '{"seed": 1e999, "frames": 1e999}', DEEP, "\ud800",
           '{"seed": 4294967296, "frames": -1}', '{"seed": 1, "seed": 1, "frames": 1, "frames": 1}',
           f'{{"seed": 1{LONG}, "frames": 1{LONG}}}']  # fmt: skip


@pytest.mark.parametrize("text", DAMAGED, ids=lambda text: ascii(text)[:30])
def test_damaged_records_are_one_line_errors(tmp_path: Path, text: str) -> None:
    for name, read in (("versions.json", read_versions), ("result.json", read_result)):
        (tmp_path / name).write_bytes(text.encode(errors="surrogatepass"))
        assert f"{name}: is damaged, or not written by a run (" in error_of(read, tmp_path)
    assert "result.json" in error_of(Run(tmp_path).final, "a", "return")


# --- devices, pipes, sizes -----------------------------------------------------------------------


def odd_file(kind: str, path: Path) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    else:
        path.touch()
        os.truncate(path, 2**33)  # sparse


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["pipe", "zero", "large"])
def test_an_unreadable_manifest_is_named_and_skipped(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    manifest = folder / "checkpoint" / "last_2.json"
    manifest.unlink()
    odd_file(kind, manifest)
    assert start(tmp_path, "--resume", "--until", "10") == 0
    assert re.search(r"skipped .*last_2\.json: cannot be read", capsys.readouterr().out)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["pipe", "zero", "large"])
def test_only_regular_files_of_limited_size_are_read(tmp_path: Path, kind: str) -> None:
    odd_file(kind, tmp_path / "file.json")
    for read in (read_tree, read_source, load_policy):
        assert "file.json" in error_of(read, tmp_path / "file.json")


# --- checkpoints loaded as policies --------------------------------------------------------------

State = dict[str, Any]
UNPLAYABLE: dict[str, tuple[Callable[[State], object], str]] = {
    "NaN": (
        lambda state: state["networks"]["actor.body.head.bias"].fill_(math.nan),
        "body.head.bias is not finite",
    ),
    "another suite": (lambda state: state["config"]["env"].update(suite="gymnasium"), "env.tasks"),
    "invalid task": (lambda state: state["config"]["env"].update(tasks=[1]), "env.tasks"),
    "no configuration": (lambda state: state.update(config={}), "algo"),
    "no weights": (lambda state: state.pop("networks"), "cannot be played"),
    "not a tensor": (lambda state: state.update(networks={"a": 1}), "not written by a run"),
    "huge networks": (
        lambda state: state["config"]["net"].update(hidden_shapes=[2**16] * 9),
        "lacks the tensor 'body.trunk.",
    ),
    "invalid frames": (lambda state: state.update(frames="many"), "not written by a run"),
}


@pytest.mark.parametrize("name", UNPLAYABLE)
def test_the_error_names_weights_that_cannot_be_played(folder: Path, name: str) -> None:
    change, expected = UNPLAYABLE[name]
    path = folder / "checkpoint" / "best.pt"
    state = torch.load(folder / "checkpoint" / "last_2.pt", weights_only=True)
    state["networks"] = state.pop("learner")["networks"]
    change(state)
    torch.save(state, path)
    message = error_of(load_policy, path)
    assert f"{path}: " in message and expected in message
