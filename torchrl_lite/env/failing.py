"""Errors of environments, whose code may be anyone's, attributed to their environment."""

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

from torchrl_lite.errors import EpisodeError, RunError, UserError

RAISED = (Exception, SystemExit)
"""What an environment may raise: a `sys.exit` in it is a failure, not the end of the run."""


def of_environment(name: str, error: BaseException) -> EpisodeError:
    """An error that names the environment it came from."""
    hint = "; Gymnasium's reset returns 2 values, its step 5" if _is_of_gym(error) else ""
    return EpisodeError(f"{name}: {type(error).__name__}: {error}{hint}")


def _is_of_gym(error: BaseException) -> bool:
    """Whether a wrapper of Gymnasium could not unpack what an environment returned. The stack
    frames of its author's code do not show that."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    where = frames[-1].f_globals.get("__name__", "") if frames else ""
    unpacking = isinstance(error, ValueError) and "to unpack" in str(error)
    return unpacking and where.partition(".")[0] in ("gymnasium", "torchrl_lite")


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
