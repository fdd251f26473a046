"""Checkpoints are written whole or not at all, and loading one never executes code."""

import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from helpers import Payload, error_of, no_file_larger_than

from torchrl_lite.checkpoint import files
from torchrl_lite.checkpoint.files import write_atomically, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def write_state(path: Path) -> None:
    files.save(path, {"networks": {"weight": torch.zeros(2, 3)}, "epoch": 7})


def test_a_text_file_is_created_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a new folder, in UTF-8, with the permissions of any new file."""
    monkeypatch.setattr(files, "_UMASK", 0o027)
    path = tmp_path / "a" / "b" / "params.json"
    for text in ("first", "é→"):
        write_text(path, text)
    assert path.read_bytes() == "é→".encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert names(path.parent) == ["params.json"]


@pytest.mark.parametrize("error", [OSError(28, "no space"), KeyboardInterrupt()], ids=repr)
def test_a_write_that_fails_halfway_keeps_the_old_file(
    tmp_path: Path, error: BaseException
) -> None:
    def write_half(file: BinaryIO) -> None:
        file.write(b"n")
        file.flush()
        assert path.read_bytes() == b"old"
        raise error

    path = tmp_path / "last.pt"
    path.write_bytes(b"old")
    with pytest.raises(type(error)):
        write_atomically(path, write_half)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["last.pt"]


def test_a_full_disk_is_reported_as_such(tmp_path: Path) -> None:
    """Not as an error of torch's archive writer."""
    with pytest.raises(OSError, match="File too large"), no_file_larger_than(20_000):
        files.save(tmp_path / "best.pt", {"weight": torch.zeros(100, 100)})
    assert names(tmp_path) == []


def test_the_content_is_synced_before_the_file_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    for owner, step in ((os, "fsync"), (Path, "replace")):
        original = getattr(owner, step)

        def logged(*args: Any, step: str = step, original: Callable = original) -> Any:
            steps.append(step)
            return original(*args)

        monkeypatch.setattr(owner, step, logged)
    write_text(tmp_path / "params.json", "{}")
    assert steps == ["fsync", "replace", "fsync"]  # the file, then its name, then the folder


def with_code(path: Path) -> dict[str, Any]:
    return {"learner": {"optimizers": [Payload(path.with_name("executed"))]}}


def truncate(path: Path) -> None:
    write_state(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(0.99 * len(content))])


def corrupt_pickle(path: Path) -> None:
    """Damages the pickle inside the archive."""
    write_state(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"networks")
    content[at - 6 : at] = b"\xff" * 6
    path.write_bytes(content)


def zip_of(path: Path, entries: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def zip_bomb(path: Path) -> None:
    """A checkpoint that torch would load, compressed to a thousandth of its size."""
    torch.save({"weight": torch.zeros(5_000_000)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    zip_of(path, entries)


def huge_header(path: Path) -> None:
    """The zip's directory claims that an entry has four gigabytes."""
    torch.save({"weight": torch.zeros(3)}, path)
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = struct.pack("<II", 0xF0000000, 0xF0000000)
    path.write_bytes(content)


def holding(weight: Any) -> Callable[[Path], object]:
    return lambda path: torch.save({"weight": weight}, path)


def billion_laughs(part: Any) -> Any:
    """Ten levels, each of which holds the one below ten times."""
    for _ in range(10):
        part = type(part)([part]) * 10
    return part


BAD: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": truncate,
    "corrupt pickle": corrupt_pickle,
    "another zip file": lambda path: zip_of(path, {"readme.txt": b"nothing"}),
    "a folder": Path.mkdir,
    "a list": lambda path: torch.save([1, 2], path),
    "code": lambda path: torch.save(with_code(path), path),
    "code, legacy format": lambda path: torch.save(
        with_code(path), path, _use_new_zipfile_serialization=False
    ),
    "code, plain pickle": lambda path: path.write_bytes(pickle.dumps(with_code(path), protocol=2)),
    "a path that leaves the folder": lambda path: zip_of(path, {"../../executed/data.pkl": b""}),
    "an absolute path": lambda path: zip_of(path, {f"{path.parent}/executed/data.pkl": b""}),
    "a zip bomb": zip_bomb,
    "a huge header": huge_header,
    "a tensor beyond its storage": holding(torch.zeros(1).expand(10**12)),
    "a sparse tensor": holding(torch.zeros(3, 3).to_sparse()),
    "a billion lists": holding(billion_laughs(["x"])),
    "a billion tuples": holding(billion_laughs(("x",))),
    "a complex tensor": holding([torch.zeros(3).to(torch.complex64)]),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_rejected_in_one_line_without_side_effects(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "last.pt"
    BAD[kind](path)
    message = error_of(files.load, path)
    assert str(path) in message
    assert "weights_only" not in message  # torch's advice, which would execute the file
    assert names(tmp_path) == ["last.pt"]


def test_unpickling_would_run_the_code_of_these_files(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(with_code(tmp_path / "last.pt")))
    assert names(tmp_path) == ["executed"]
