"""The complete checkpoints of a run: finds the newest valid one, writes only new transitions.

``last_<epoch>.pt`` holds the state, ``last_<epoch>.rows`` the transitions that the checkpoint it
builds on lacks. ``last_<epoch>.json``, written last, lists the size and SHA-256 of every file of
the checkpoint: its state, and the transitions of all saves that it builds on.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from torchrl_lite.checkpoint.files import (
    load,
    remove_temporaries,
    write_atomically,
    write_text,
)
from torchrl_lite.checkpoint.manifest import (
    OURS,
    check_file,
    digest_of,
    epochs_in,
    read_manifest,
    without_manifest,
)
from torchrl_lite.checkpoint.state import Chunk, Stored, check_state
from torchrl_lite.errors import CheckpointError, UserError, is_out_of_memory


class Rows(Protocol):
    """A replay buffer as a checkpoint needs it. Transition n of a task is counted from the first
    one ever added; only those still in the buffer are available."""

    @property
    def bytes_per_transition(self) -> int: ...

    @property
    def capacity(self) -> int: ...

    @property
    def written(self) -> list[int]:
        """Transitions ever added, for each task."""

    def rows(self, task: int, start: int) -> Tensor: ...

    def restore(self, task: int, start: int, rows: Tensor) -> None: ...

    def state_dict(self) -> dict[str, object]:
        """Everything except the transitions."""


class Saved(NamedTuple):
    """A checkpoint that was read and verified; `fill` reads its transitions."""

    path: Path
    state: dict[str, Any]
    chunks: list[Chunk]

    def fill(self, buffer: Rows) -> None:
        """Restores the transitions to ``buffer``.

        Raises:
            CheckpointError: their shape does not match the buffer's.
        """
        for task, first, rows in self.rows(buffer.bytes_per_transition // 4):
            buffer.restore(task, first, rows)

    def rows(self, width: int) -> Iterator[tuple[int, int, Tensor]]:
        """A task, a number and the transitions from this number on, ``[n, width]``, in ascending
        order.

        Raises:
            CheckpointError: they have another width.
        """
        for chunk in self.chunks:
            flat = np.fromfile(self.path.parent / chunk.file, np.float32)
            if flat.size != sum(chunk.counts) * width:
                raise CheckpointError(
                    f"{self.path}: its transitions differ in shape from this run's"
                )
            parts = torch.from_numpy(flat).view(-1, width).split(chunk.counts)
            for task, (first, rows) in enumerate(zip(chunk.starts, parts, strict=True)):
                yield task, first, rows


class _Kept(NamedTuple):
    """What the store remembers of a valid checkpoint."""

    epoch: int
    written: list[int]
    chunks: list[Chunk]
    files: dict[str, dict[str, Any]]
    """Size and checksum by file name."""


class Store:
    """The folder ``checkpoint`` of one run; use it only under the run's lock.

    Kept checkpoints share no file, so damage to one cannot affect another: each builds on the
    transitions of the one it replaces, ``keep`` saves earlier.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        """``keep`` is the number of complete checkpoints to keep."""
        self._folder, self._keep = folder, keep
        self._good: list[_Kept] = []
        self._bad = False

    def newest(self) -> tuple[Saved | None, list[str]]:
        """The newest valid checkpoint, and a line for each invalid one. Changes nothing.

        Raises:
            CheckpointError: there are checkpoints, but none is valid.
        """
        newest: Saved | None = None
        bad: list[str] = []
        for epoch in epochs_in(self._folder):
            try:
                saved, kept = _read(self._folder, epoch)
            except CheckpointError as error:
                if error.__cause__ is not None and is_out_of_memory(error.__cause__):
                    raise error.__cause__ from None
                bad.append(str(error))
                continue
            newest = newest or saved
            self._good.insert(0, kept)
        if bad and newest is None:
            raise CheckpointError(f"no valid checkpoint: {'; '.join(bad)}")
        if newest is None and (old := self._folder / "last.pt").exists():
            raise CheckpointError(f"{old}: written by an earlier version; resume with that version")
        if newest:
            bad = [*without_manifest(self._folder, behind=self._good[-1].epoch), *bad]
        self._bad = bool(bad)
        return newest, bad

    def tidy(self) -> None:
        """Removes the leftovers of a killed save; files of an invalid checkpoint stay until the
        next save."""
        remove_temporaries(self._folder)
        if self._good and not self._bad:
            self._good = self._good[-self._keep :]
            self._prune()

    def save(self, epoch: int, state: dict[str, Any], buffer: Rows) -> int:
        """Writes a checkpoint, removes files that no kept one needs, and returns the bytes written.

        ``state`` contains what `load` can read; the key ``buffer`` is added here.

        Raises:
            CheckpointError: writing failed; earlier checkpoints remain valid.
            OSError: the checkpoint was written, but an old one could not be removed.
        """
        try:
            size = self._save(epoch, state, buffer)
        except OSError as error:
            stands = f"; epoch {self._good[-1].epoch} remains valid" if self._good else ""
            raise CheckpointError(
                f"{self._folder}: the checkpoint of epoch {epoch} could not be written "
                f"({error.strerror or error}){stands}"
            ) from error
        self._prune()
        return size

    def _save(self, epoch: int, state: dict[str, Any], buffer: Rows) -> int:
        written = buffer.written
        oldest = [max(0, count - buffer.capacity) for count in written]
        good = [kept for kept in self._good if kept.epoch < epoch][-self._keep :]
        base = good.pop(0) if len(good) == self._keep else _Kept(0, [0] * len(written), [], {})
        starts = [max(pair) for pair in zip(base.written, oldest, strict=True)]
        counts = [end - start for end, start in zip(written, starts, strict=True)]
        chunks = [chunk for chunk in base.chunks if _matters(chunk, oldest)]
        files = {chunk.file: base.files[chunk.file] for chunk in chunks}
        new: dict[str, dict[str, Any]] = {}
        if any(counts):
            chunks.append(Chunk(f"last_{epoch}.rows", starts, counts))
            rows = [buffer.rows(task, start).numpy() for task, start in enumerate(starts)]
            parts = [part.reshape(-1).view(np.uint8) for part in rows]
            new[chunks[-1].file] = self._write(chunks[-1].file, parts)
        content = BytesIO()
        names = {"chunks": [chunk._asdict() for chunk in chunks]}
        torch.save(state | {"buffer": buffer.state_dict() | names}, content)
        new[f"last_{epoch}.pt"] = self._write(f"last_{epoch}.pt", [content.getbuffer()])
        files |= new
        tree = {"files": files, "sha256": digest_of(files)}
        manifest = json.dumps(tree, separators=(",", ":"))
        write_text(self._folder / f"last_{epoch}.json", manifest)

        self._good = [*good, _Kept(epoch, written, chunks, files)]
        return len(manifest) + sum(entry["bytes"] for entry in new.values())

    def _write(self, name: str, parts: Sequence[Any]) -> dict[str, Any]:
        def write(file: BinaryIO) -> None:
            for part in parts:
                file.write(part)

        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        write_atomically(self._folder / name, write)
        size = sum(memoryview(part).nbytes for part in parts)
        return {"bytes": size, "sha256": digest.hexdigest()}

    def _prune(self) -> None:
        """Removes files that no kept checkpoint needs."""
        needed = {name for kept in self._good for name in kept.files}
        needed |= {f"last_{kept.epoch}.json" for kept in self._good}
        gone = [
            path
            for path in self._folder.iterdir()
            if OURS.fullmatch(path.name) and path.name not in needed
        ]
        # Manifests first: files without a manifest do not count as a damaged checkpoint.
        for path in sorted(gone, key=lambda path: path.suffix != ".json"):
            path.unlink()


def _read(folder: Path, epoch: int) -> tuple[Saved, _Kept]:
    files = read_manifest(folder / f"last_{epoch}.json")
    path = folder / f"last_{epoch}.pt"
    for name, entry in files.items():
        check_file(folder / name, entry)
    try:
        state = load(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: is missing, unlike its manifest") from None
    rows = check_state(Stored, state, path).buffer
    if {chunk.file for chunk in rows.chunks} | {path.name} != files.keys():
        raise CheckpointError(f"{path}: does not match its manifest")
    return Saved(path, state, rows.chunks), _Kept(epoch, rows.written, rows.chunks, files)


def _matters(chunk: Chunk, oldest: Sequence[int]) -> bool:
    """Whether some of its transitions are still in the replay buffer."""
    spans = zip(chunk.starts, chunk.counts, oldest, strict=True)
    return any(start + count > old for start, count, old in spans if count)


def weights_of(run: Path) -> Path:
    """The file with a run's best weights, or its newest ones if it has not been evaluated.

    Raises:
        UserError: it has none.
    """
    folder = run / "checkpoint"
    best = folder / "best.pt"
    if best.exists():
        return best
    numbered = [(int(name[1]), path) for path in folder.glob("last_*.pt")
                if (name := OURS.fullmatch(path.name))]  # fmt: skip
    if numbered:
        return max(numbered)[1]
    below = [file.parent.parent for file in sorted(run.glob("**/checkpoint/*.pt"))]
    hint = f"; did you mean {below[0]}?" if below else ""
    raise UserError(f"{run} is not a run directory: it has no checkpoint{hint}")


def complete_checkpoint(path: Path) -> Saved:
    """The newest valid checkpoint of a run directory, or the one with the state file ``path``.

    Changes nothing in that run, which may be in progress.

    Raises:
        CheckpointError: there is no valid one.
    """
    match = OURS.fullmatch(path.name)
    folder = path / "checkpoint" if path.is_dir() else path.parent
    epochs = epochs_in(folder) if path.is_dir() else [int(match[1])] if match else []
    why = "holds no complete checkpoint"
    for epoch in epochs:
        try:
            return _read(folder, epoch)[0]
        except CheckpointError as error:
            why = f"no valid checkpoint ({error})"
    raise CheckpointError(f"{path}: {why}")
