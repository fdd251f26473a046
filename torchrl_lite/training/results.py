"""A finished run's result and policy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchrl_lite.policies.file import TaskEvaluation, write
from torchrl_lite.policies.policy import Policy
from torchrl_lite.reporting.console import Row
from torchrl_lite.reporting.logger import finite
from torchrl_lite.training.evaluation import ByTask
from torchrl_lite.training.provenance import versions
from torchrl_lite.training.rl_algo import RLAlgo


def result_of(
    algo: RLAlgo,
    final: Row,
    *,
    episodes: ByTask,
    wall_time_s: float,
    origin: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """The content of ``result.json``; ``final`` is the row of the final evaluation,
    of these ``episodes`` and on held-out goals."""
    result: dict[str, Any] = {
        "frames": algo.total_frames,
        "updates": algo.learner.updates,
        "epochs": algo.epoch,
        "wall_time_s": round(wall_time_s, 3),
        "final_eval_episodes": min(map(len, episodes.values())),  # each task has as many
        **{key: finite(value) for key, value in (final | algo.learned).items()},
    }
    if algo.config.curriculum is not None:
        result |= {
            "stage": algo.stages.stage,
            "stage/complete": algo.stages.complete,
            "stage/check_frames": algo.stages.check_frames,
            **algo.stages.forgotten(final),
        }
    return result | ({"origin": list(origin)} if origin else {})


def save_policy(
    path: Path,
    algo: RLAlgo,
    episodes: ByTask,
    *,
    held_out: ByTask,
    seed: int,
    origin: Sequence[dict[str, Any]],
) -> None:
    """Writes the policy with the episodes of its final evaluation."""
    learner = algo.learner
    policy = Policy(
        learner.actor, algo.config, learner.spec, algo.total_frames, seed, versions(), origin
    )
    evaluation, others = (
        [TaskEvaluation.of(learner.spec.tasks[task], stats) for task, stats in one.items()]
        for one in (episodes, held_out)
    )
    write(path, policy, evaluation, held_out=others)
