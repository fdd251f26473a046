"""Films during training."""

from collections.abc import Callable
from copy import deepcopy

from torchrl_lite.config import Config
from torchrl_lite.policies.film import Replay, record
from torchrl_lite.reporting.logger import Logger
from torchrl_lite.training.rl_algo import RLAlgo

FPS = 10
"""Frames per second; few, since training waits while they are rendered."""


def is_filmed(config: Config, epoch: int) -> bool:
    """Whether ``log.video`` asks for films after this epoch."""
    evaluations = int(config.log.video)
    return evaluations > 0 and epoch % (evaluations * config.train.eval_interval) == 0


def film(algo: RLAlgo, logger: Logger, *, seed: int, say: Callable[[str], None]) -> None:
    """Films every task in separate environments. A failure does not stop the run."""
    env = algo.config.env
    policy = deepcopy(algo.learner.actor).cpu()
    for task, name in enumerate(env.tasks):
        try:
            shown = record(Replay(env, policy, task, seed), fps=FPS)
            logger.film(name, shown, frames=algo.total_frames)
        except Exception as error:
            say(f"warning: no film of {name} ({type(error).__name__}: {error})")
