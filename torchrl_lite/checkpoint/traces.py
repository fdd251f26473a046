"""What a training leaves in a run directory, and whether it must not be overwritten."""

from pathlib import Path

from torchrl_lite.checkpoint.records import read_versions
from torchrl_lite.errors import UserError

RESULTS = ("result.json", "policy.safetensors")
TRACEBACK = "error.txt"
"""The full traceback of the environment's error that ended the run."""
NOT_FINITE = "not_finite.txt"
"""Which value ended the run; a run that is resumed gets there again."""


def traces(folder: Path) -> list[str]:
    """Files that training wrote: a log with rows, checkpoints, results. Files that a run writes
    before its first epoch do not count.

    Raises:
        OSError: the directory cannot be read.
    """
    checkpoints = folder / "checkpoint"
    found = [path for path in checkpoints.glob("*") if path.name.startswith("last_")]
    found += [path for path in checkpoints.glob("*.pt") if path not in found]
    log = folder / "log.csv"
    if log.is_file() and _has_rows(log):
        found.append(log)
    found += [path for name in RESULTS if (path := folder / name).exists()]
    return sorted(str(path.relative_to(folder)) for path in found)


def remove(folder: Path, *names: str) -> None:
    """Removes those that exist."""
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _has_rows(log: Path) -> bool:
    with log.open("rb") as file:
        file.readline(2**20)
        return bool(file.read(1))


def listed(names: list[str]) -> str:
    """The first name, and the number of further ones."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"


def check_not_lost(folder: Path) -> None:
    """For a run directory without a complete checkpoint. If the run was killed before its first
    complete save, as recorded in ``versions.json``, it may start again.

    Raises:
        UserError: the checkpoints are lost.
    """
    found, had_one = traces(folder), _had_a_checkpoint(folder)
    if had_one or (found and had_one is None):
        left = f", only {listed(found)}" if found else ""
        raise UserError(
            f"{folder}: has no complete checkpoint any more{left}; restore "
            "checkpoint/last_<epoch>.json and the files it names, or use another --id or --seed"
        )


def _had_a_checkpoint(folder: Path) -> bool | None:
    """None if unknown."""
    try:
        versions = read_versions(folder)
    except UserError:
        return None
    return None if versions is None else versions.has_checkpoint
