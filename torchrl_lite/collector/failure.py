"""Reports of errors in environments, without our own frames."""

import sysconfig
import traceback
from pathlib import Path

import gymnasium

from torchrl_lite.errors import EpisodeError, Failure

_PATHS = sysconfig.get_paths()
_PACKAGES = tuple(Path(_PATHS[name]) for name in ("purelib", "platlib"))
_STANDARD = tuple(Path(_PATHS[name]) for name in ("stdlib", "platstdlib"))
_OURS = (Path(__file__).parents[1], Path(gymnasium.__file__).parent)


def failure_of(error: BaseException) -> Failure:
    """The report of an error and its chain of causes."""
    frames: list[traceback.FrameSummary] = []
    cause: BaseException | None
    cause = error.__cause__ if isinstance(error, EpisodeError) and error.__cause__ else error
    while cause is not None:
        frames = [*traceback.extract_tb(cause.__traceback__), *frames][:1000]
        cause = cause.__cause__
    own = [frame for frame in frames if _is_own(frame.filename)]
    whole = "".join(traceback.format_exception(error))
    return Failure(str(error), "".join(traceback.format_list(own)).rstrip(), whole.rstrip())


def _is_own(file: str) -> bool:
    """Whether a file is outside this package, Gymnasium and the standard library."""
    path = Path(file)
    if file.startswith("<frozen ") or _below(path, _OURS):
        return False
    return _below(path, _PACKAGES) or not _below(path, _STANDARD)


def _below(path: Path, folders: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)
