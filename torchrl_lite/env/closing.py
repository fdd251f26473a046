"""Closes an environment, whose code may be anyone's."""

import gymnasium as gym

from torchrl_lite.errors import EpisodeError


def close(env: gym.Env, task: str) -> None:
    """
    Raises:
        EpisodeError: it cannot be closed; the message names the task.
    """
    try:
        env.close()
    except (Exception, SystemExit) as error:
        raise EpisodeError(f"{task}: {type(error).__name__}: {error}") from error
