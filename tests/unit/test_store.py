"""Which checkpoint a run resumes from, what a save writes, and what damage does."""

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from helpers import CPU, make_spec, no_file_larger_than, random_block, write_manifest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.checkpoint.store import Store
from torchrl_lite.errors import CheckpointError
from torchrl_lite.training.signals import Interrupted

SPEC = make_spec(2)
CAPACITY, EPOCH = 12, 4


class Run:
    """A buffer that gains four rows per task and epoch, saved after every epoch."""

    def __init__(self, folder: Path, *, keep: int = 2, capacity: int = CAPACITY) -> None:
        self.store = Store(folder, keep=keep)
        self.buffer = ReplayBuffer(SPEC, capacity, CPU)

    def save(self, *epochs: int) -> int:
        """Bytes written by the last of these saves."""
        size = 0
        for epoch in epochs:
            self.buffer.add_block(random_block(SPEC, EPOCH, seed=epoch), [0, 1])
            size = self.store.save(epoch, {"epoch": epoch, "weight": torch.ones(3)}, self.buffer)
        return size

    def resume(self) -> tuple[int, list[str]]:
        """Resumes from the newest checkpoint: its epoch, and what is reported about others."""
        saved, lines = self.store.newest()
        self.store.tidy()
        assert saved is not None
        self.buffer.load_state_dict(saved.state["buffer"])
        saved.fill(self.buffer)
        return saved.state["epoch"], lines


def expected(epoch: int) -> torch.Tensor:
    """The ring buffer as it was at the end of an epoch."""
    buffer = ReplayBuffer(SPEC, CAPACITY, CPU)
    for number in range(1, epoch + 1):
        buffer.add_block(random_block(SPEC, EPOCH, seed=number), [0, 1])
    return buffer.data


def assert_resumes_from(folder: Path, epoch: int, *, skipped: int = 0) -> list[str]:
    run = Run(folder)
    found, lines = run.resume()
    assert found == epoch
    assert torch.equal(run.buffer.data, expected(epoch))
    assert run.buffer.written == [EPOCH * epoch] * 2
    assert len(lines) == skipped and all(len(line.splitlines()) == 1 for line in lines)
    return lines


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- saving --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [1, 5])
def test_a_restored_store_continues_like_the_original(tmp_path: Path, stop: int) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    Run(one).save(*range(1, 8))
    Run(other).save(*range(1, stop + 1))
    again = Run(other)
    again.resume()
    again.save(*range(stop + 1, 8))
    assert {path.name: path.read_bytes() for path in one.iterdir()} == {
        path.name: path.read_bytes() for path in other.iterdir()
    }


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_last_checkpoints_are_kept_with_the_rows_they_need(tmp_path: Path, keep: int) -> None:
    Run(tmp_path, keep=keep).save(*range(1, 9))
    kept = range(9 - keep, 9)
    chains = {n: range(n, n - 3, -keep) for n in kept}  # a ring of twelve holds three epochs
    needed = {link for chain in chains.values() for link in chain}
    assert len(needed) == sum(map(len, chains.values()))  # no file belongs to two of them
    assert names(tmp_path) == {f"last_{n}.{kind}" for n in kept for kind in ("pt", "json")} | {
        f"last_{n}.rows" for n in needed
    }


def test_a_save_writes_only_the_new_transitions(tmp_path: Path) -> None:
    """Those since the checkpoint it replaces."""
    run = Run(tmp_path, capacity=100_000)
    run.buffer.add_block(random_block(SPEC, 90_000), [0, 1])
    first, _, third = (run.save(epoch) for epoch in (1, 2, 3))
    row = run.buffer.bytes_per_transition
    new = 2 * 2 * EPOCH * row  # two tasks, two epochs
    assert first > 2 * 90_000 * row
    assert new < third < new + 10_000
    assert (tmp_path / "last_3.rows").stat().st_size == new


def test_other_files_are_kept_and_leftovers_of_a_killed_save_removed(tmp_path: Path) -> None:
    others = {"best.pt", "epoch_4.pt", "last_notes.txt", "transfer_stage1.pt"}
    for name in (*others, ".last_2.rows.abc.tmp"):
        (tmp_path / name).write_text("mine")
    Run(tmp_path).save(1, 2, 3)
    assert_resumes_from(tmp_path, 3)
    assert names(tmp_path) >= others
    assert ".last_2.rows.abc.tmp" not in names(tmp_path)


# --- damage --------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    """One bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def enlarge(path: Path) -> None:
    """Extended to ten gigabytes."""
    os.truncate(path, 10**10)


DAMAGES: list[Callable[[Path], Any]] = [truncate, flip, enlarge, Path.unlink]


@pytest.mark.parametrize("damage", DAMAGES, ids=["truncated", "flipped", "enlarged", "removed"])
@pytest.mark.parametrize("name", ["last_3.pt", "last_3.rows", "last_1.rows", "last_3.json"])
def test_a_damaged_checkpoint_is_named_and_skipped(
    tmp_path: Path, name: str, damage: Callable[[Path], Any]
) -> None:
    """Whichever file it is; ``last_1.rows`` does not belong to the previous checkpoint."""
    Run(tmp_path).save(1, 2, 3)
    damage(tmp_path / name)
    assert name in assert_resumes_from(tmp_path, 2, skipped=1)[0]


def test_damage_to_the_previous_checkpoint_is_named_and_not_built_on(tmp_path: Path) -> None:
    Run(tmp_path).save(1, 2, 3)
    flip(tmp_path / "last_2.rows")
    assert "last_2.rows" in assert_resumes_from(tmp_path, 3, skipped=1)[0]
    run = Run(tmp_path)
    run.resume()
    run.save(4)
    assert_resumes_from(tmp_path, 4)


def test_without_a_valid_checkpoint_each_is_named(tmp_path: Path) -> None:
    Run(tmp_path).save(1, 2, 3)
    flip(tmp_path / "last_3.pt")
    truncate(tmp_path / "last_2.json")
    with pytest.raises(CheckpointError, match=r"last_3.pt: damaged .*; .*last_2.json: damaged"):
        Store(tmp_path, keep=2).newest()


def test_a_checkpoint_of_an_earlier_version_is_reported(tmp_path: Path) -> None:
    torch.save({"epoch": 1}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=r"last.pt: written by an earlier version"):
        Store(tmp_path, keep=2).newest()


ENTRY = {"bytes": 1, "sha256": ""}
NOT_JSON = [b"", b"[]", b'{"files": {}}', b"[" * 100_000, b"\xff\xfe", b" " * 100]
FORGED = [
    {},
    [],
    {"last_3.pt": None},
    {"last_3.pt": ENTRY | {"bytes": "1"}},
    {"last_3.pt": ENTRY | {"bytes": 10**30}},
    {"../../last_3.pt": ENTRY},
    {"/etc/passwd": ENTRY},
]


@pytest.mark.parametrize("manifest", NOT_JSON + FORGED, ids=lambda one: repr(one)[:20])
def test_an_invalid_manifest_is_skipped(tmp_path: Path, manifest: Any) -> None:
    Run(tmp_path).save(1, 2, 3)
    path = tmp_path / "last_3.json"
    if isinstance(manifest, bytes):
        path.write_bytes(manifest)
    else:
        write_manifest(path, manifest)
    assert_resumes_from(tmp_path, 2, skipped=1)


def test_a_state_that_does_not_match_its_manifest_is_skipped(tmp_path: Path) -> None:
    Run(tmp_path).save(1, 2, 3)
    path = tmp_path / "last_3.json"
    files = json.loads(path.read_text())["files"]
    write_manifest(path, {name: files[name] for name in ("last_3.pt", "last_3.rows")})
    assert "does not match" in assert_resumes_from(tmp_path, 2, skipped=1)[0]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("three")
    Run(folder).save(1, 2, 3)
    return folder


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_damage_never_yields_a_wrong_state(three: Path, tmp_path: Path, data: Any) -> None:
    """Either the state of a saved epoch or a one-line error."""
    folder = tmp_path / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(three, folder)
    for _ in range(data.draw(st.integers(1, 3))):
        path = folder / data.draw(st.sampled_from(sorted(names(three))))
        content = path.read_bytes()
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, len(content)))
        path.write_bytes(content[:start] + data.draw(st.binary(max_size=40)) + content[end:])
    try:
        run = Run(folder)
        epoch, _ = run.resume()
        assert torch.equal(run.buffer.data, expected(epoch))
    except CheckpointError as error:
        assert len(str(error).splitlines()) == 1


# --- disk errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "written"), [(400, set()), (1900, {"last_3.rows"})])
def test_a_full_disk_is_reported_and_keeps_the_previous_checkpoint(
    tmp_path: Path, size: int, written: set[str]
) -> None:
    run = Run(tmp_path)
    run.save(1, 2)
    before = names(tmp_path)
    message = r"epoch 3 could not be written \(File too large\); epoch 2 remains"
    with pytest.raises(CheckpointError, match=message), no_file_larger_than(size):
        run.save(3)
    assert names(tmp_path) - before == written  # not complete: no manifest
    assert_resumes_from(tmp_path, 2, skipped=len(written))


# --- interrupted between any two file operations -------------------------------------------------


def before_each_operation(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Calls ``act`` before a save opens, syncs, renames or removes anything."""

    def wrapped(operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            act()
            return operation(*args, **options)

        return call

    for name in ("open", "fsync", "chmod", "replace", "unlink"):
        monkeypatch.setattr(os, name, wrapped(getattr(os, name)))


def snapshots(folder: Path, monkeypatch: pytest.MonkeyPatch, keep: int) -> list[dict[str, bytes]]:
    """The files before each operation of the fourth save, and after the last."""
    run, seen = Run(folder, keep=keep), list[dict[str, bytes]]()

    def look() -> None:
        seen.append({path.name: path.read_bytes() for path in folder.iterdir()})

    run.save(1, 2, 3)
    with monkeypatch.context() as patch:
        before_each_operation(patch, look)
        run.save(4)
    look()
    return seen


@pytest.mark.parametrize("keep", [1, 2])
def test_a_kill_between_two_operations_leaves_the_old_or_new_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: int
) -> None:
    """And none is reported as damaged."""
    seen = snapshots(tmp_path / "whole", monkeypatch, keep)
    assert len(seen) > 20
    resumed = []
    for number, files in enumerate(seen):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        resumed.append(4 if "last_4.json" in files else 3)
        cut_short = resumed[-1] == 3 and any(name.startswith("last_4.") for name in files)
        lines = assert_resumes_from(folder, resumed[-1], skipped=int(cut_short))
        assert all("last_4.json is missing (the save was interrupted" in line for line in lines)
        assert not list(folder.glob(".*"))
    assert resumed == sorted(resumed) and set(resumed) == {3, 4}


@pytest.mark.parametrize(
    ("raised", "caught"),
    [
        (Interrupted(signal.SIGTERM), Interrupted),
        (OSError(errno.ENOSPC, "no space"), (CheckpointError, OSError)),
    ],
    ids=["a second signal", "a full disk"],
)
def test_a_failure_of_any_operation_leaves_the_old_or_new_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException, caught: Any
) -> None:
    count = len(snapshots(tmp_path / "whole", monkeypatch, 2)) - 1
    for number in range(count):
        folder = tmp_path / str(number)
        run = Run(folder)
        run.save(1, 2, 3)
        fail = Mock(side_effect=[*[None] * number, raised, *[None] * count])
        with monkeypatch.context() as patch:
            before_each_operation(patch, fail)
            with pytest.raises(caught, match=r"SIGTERM|no space"):
                run.save(4)
        assert not list(folder.glob(".*"))
        saved = (folder / "last_4.json").exists()
        cut_short = not saved and any(folder.glob("last_4.*"))
        assert_resumes_from(folder, 4 if saved else 3, skipped=int(cut_short))
