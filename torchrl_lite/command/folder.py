"""Read-only checks whether a run directory is free for a new run, or holds one to resume."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torchrl_lite.checkpoint.records import read_versions
from torchrl_lite.checkpoint.traces import TRACEBACK, listed, traces
from torchrl_lite.config.reading import reason
from torchrl_lite.errors import UserError


def is_to_resume(folder: Path, *, seed: int, resume: bool) -> bool:
    """Whether ``folder`` holds a run, with ``resume``; without, it must hold none.

    Raises:
        UserError: it does, its run is of another seed or lacks its configuration, it cannot be
            read, or its path is not valid UTF-8, which TensorBoard needs.
    """
    _check_text(folder)
    if not resume:
        check_unused(folder)
        return False
    return _is_resumable(folder, seed)


def check_unused(folder: Path, *, resume: bool = False) -> None:
    """With ``resume``, leftovers without a configuration do not count as a run.

    Raises:
        UserError: ``folder`` holds a run or cannot be read.
    """
    with _looking_into(folder):
        used = folder.exists() and any(path.name != TRACEBACK for path in folder.iterdir())
        used = (folder / "params.json").exists() if resume else used
    if used:
        raise UserError(
            f"{folder} exists; use --resume (in train(), resume=True) to continue it, or another "
            "--id or --seed (run_dir)"
        )


def _check_text(folder: Path) -> None:
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"--log_dir: {str(folder)!r} is not UTF-8; choose another, or set PYTHONUTF8=1 if the "
            "locale is C"
        ) from None


def _is_resumable(folder: Path, seed: int) -> bool:
    """Whether it holds a run; if not, ``--resume`` may start one."""
    with _looking_into(folder):
        if (folder / "params.json").exists():
            _check_seed(folder, seed)
            return True
        found = traces(folder)
    if found:
        raise UserError(
            f"{folder / 'params.json'}: is missing, but {folder} holds {listed(found)}; "
            "restore it, or use another --id or --seed"
        )
    return False


def _check_seed(folder: Path, seed: int) -> None:
    try:
        own = read_versions(folder)
    except UserError:  # damaged; a checkpoint does not need it, and the run writes it again
        return
    if own is not None and own.seed != seed:
        raise UserError(f"--seed: the run in {folder} has seed {own.seed}, not {seed}")


@contextmanager
def _looking_into(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder}: cannot be used ({reason(error)})") from None
