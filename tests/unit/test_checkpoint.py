"""Checkpoints: written whole or not at all, and read without executing anything in them."""

import os
import pickle
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from torchrl_lite.checkpoint import files
from torchrl_lite.checkpoint.files import write_atomically, write_text
from torchrl_lite.errors import CheckpointError

STATE: dict[str, Any] = {
    "networks": {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.zeros(3)},
    "epoch": 7,
    "best": [0.5, 12.25],
    "none": None,
    "config": {"env": {"tasks": ["reach-v3"]}, "on": True},
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def write_state(path: Path) -> None:
    files.save(path, STATE)


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    """In a folder that is made, in UTF-8, for others to read."""
    path = tmp_path / "a" / "b" / "params.json"
    for text in ("first", "é→"):
        write_text(path, text)
    assert path.read_bytes() == "é→".encode()
    assert path.stat().st_mode & 0o777 == 0o644
    assert names(path.parent) == ["params.json"]


@pytest.mark.parametrize("error", [OSError(28, "no space"), KeyboardInterrupt()], ids=repr)
def test_a_write_that_fails_half_way_leaves_the_old_file(
    tmp_path: Path, error: BaseException
) -> None:
    def half(file: BinaryIO) -> None:
        file.write(b"n")
        file.flush()
        assert path.read_bytes() == b"old"
        raise error

    path = tmp_path / "last.pt"
    path.write_bytes(b"old")
    with pytest.raises(type(error)):
        write_atomically(path, half)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["last.pt"]


def test_a_full_disk_is_reported_as_such_when_weights_are_written(tmp_path: Path) -> None:
    """Not in the words of torch's archive writer."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            files.save(tmp_path / "best.pt", {"weight": torch.zeros(100, 100)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == []


def test_the_content_is_on_disk_before_the_name_points_to_it(
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
    assert steps == ["fsync", "replace", "fsync"]  # the file, its name, the folder


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    write_state(tmp_path / "last.pt")
    state = files.load(tmp_path / "last.pt")
    torch.testing.assert_close(state.pop("networks"), STATE["networks"], rtol=0, atol=0)
    assert state == {key: value for key, value in STATE.items() if key != "networks"}
    with pytest.raises(FileNotFoundError):
        files.load(tmp_path / "other.pt")


def cut(share: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        write_state(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])

    return damage


def flip(path: Path) -> None:
    """Damages the pickle within the archive."""
    write_state(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"networks")
    content[at - 6 : at] = b"\xff" * 6
    path.write_bytes(content)


def other_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing")


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut near the end": cut(0.99),
    "damaged inside": flip,
    "another archive": other_archive,
    "a folder": lambda path: path.mkdir(),
    "a list": lambda path: torch.save([1, 2], path),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_named(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    path = tmp_path / "last.pt"
    damage(path)
    with pytest.raises(CheckpointError) as caught:
        files.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert len(message.splitlines()) == 1


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.target),))


@pytest.mark.parametrize("form", ["archive", "legacy", "pickle"])
def test_a_file_with_code_is_refused_and_executes_nothing(tmp_path: Path, form: str) -> None:
    path, executed = tmp_path / "last.pt", tmp_path / "executed"
    state = {"learner": {"optimizers": [Payload(executed)]}}
    if form == "pickle":
        path.write_bytes(pickle.dumps(state, protocol=2))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "archive")
    with pytest.raises(CheckpointError) as caught:
        files.load(path)
    assert not executed.exists()
    assert "weights_only" not in str(caught.value)  # which would execute it
    pickle.loads(pickle.dumps(state))
    assert executed.exists()
