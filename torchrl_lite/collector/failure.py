"""Environment errors: attributed to their environment, and reported without our own frames."""

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gymnasium

from torchrl_lite.errors import EpisodeError, Failure, RunError, UserError

RAISED = (Exception, SystemExit)
"""What an environment may raise: a `sys.exit` in it is a failure, not the end of the run."""
_PATHS = sysconfig.get_paths()
_PACKAGES = tuple(Path(_PATHS[name]) for name in ("purelib", "platlib"))
_STANDARD = tuple(Path(_PATHS[name]) for name in ("stdlib", "platstdlib"))
_OURS = (Path(__file__).parents[1], Path(gymnasium.__file__).parent)


def of_environment(name: str, error: BaseException) -> EpisodeError:
    """An error that names the environment it came from."""
    return EpisodeError(f"{name}: {type(error).__name__}: {error}")


@contextmanager
def named(name: str) -> Iterator[None]:
    """Wraps a call to an environment: its constructor, `render` or `close`.

    Raises:
        EpisodeError: the environment raised an error or called `sys.exit`.
    """
    try:
        yield
    except (EpisodeError, RunError, UserError):
        raise
    except RAISED as error:
        raise of_environment(name, error) from error


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
