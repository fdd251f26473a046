"""The state of training in a checkpoint, and how a run resumes from it."""

from typing import Any

from torchrl_lite.checkpoint.store import Saved
from torchrl_lite.errors import (
    CheckpointError,
    EpisodeError,
    UserError,
    WorkerError,
    in_one_line,
    is_out_of_memory,
)
from torchrl_lite.training.rl_algo import RLAlgo


def state_of(algo: RLAlgo) -> dict[str, Any]:
    """Everything the rest of the training depends on, except the replay buffer."""
    return {
        "epoch": algo.epoch,
        "frames": list(algo.frames),
        "learned": algo.learned,
        "demos": algo.demos and algo.demos.sha256,
        "curriculum": algo.stages.state_dict(),
        "learner": algo.learner.training_state(),
        "reward_scale": algo.reward_scale.state_dict() if algo.reward_scale else None,
        "collector": algo.collector.state_dict(),
    }


def resume(algo: RLAlgo, saved: Saved) -> None:
    """Restores a new ``algo`` from a checkpoint.

    Raises:
        UserError: the run had other demonstrations.
        CheckpointError: it does not fit this run.
        EpisodeError, WorkerError: an environment raised while its episode was replayed.
    """
    state = saved.state
    if state["demos"] != (algo.demos and algo.demos.sha256):
        raise UserError(
            f"train.demos: {algo.config.train.demos} is not what the run began with "
            f"({saved.path}: SHA-256 {str(state['demos'])[:64]})"
        )
    try:
        algo.epoch, algo.frames = state["epoch"], list(state["frames"])
        if len(algo.frames) != algo.config.num_tasks:
            raise ValueError(f"frames of {len(algo.frames)} tasks")
        algo.learned = state["learned"]
        algo.stages.load_state_dict(state["curriculum"])
        algo.learner.load_training_state(state["learner"])
        algo.buffer.load_state_dict(state["buffer"])
        if algo.reward_scale is not None:
            algo.reward_scale.load_state_dict(state["reward_scale"])
        algo.run.load_state_dict(state)
        saved.fill(algo.buffer)
        algo.collector.load_state_dict(state["collector"])
    except (CheckpointError, EpisodeError, WorkerError):
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        why = f"{type(error).__name__}: {in_one_line(error)}"
        raise CheckpointError(f"{saved.path}: does not fit this run ({why})") from error
