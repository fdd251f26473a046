"""Errors of environments, whose code may be anyone's, attributed to their environment."""

from collections.abc import Iterator
from contextlib import contextmanager

from torchrl_lite.errors import EpisodeError, RunError, UserError

RAISED = (Exception, SystemExit)
"""What an environment may raise: a `sys.exit` in it is a failure, not the end of the run."""


def of_environment(name: str, error: BaseException) -> EpisodeError:
    """An error that names the environment it came from."""
    # The unpacking stands in Gymnasium's own wrappers, so the stack frames do not show the cause.
    old_api = isinstance(error, ValueError) and "to unpack" in str(error)
    hint = "; Gymnasium's reset returns 2 values, its step 5" if old_api else ""
    return EpisodeError(f"{name}: {type(error).__name__}: {error}{hint}")


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
