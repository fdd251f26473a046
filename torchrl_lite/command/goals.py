"""Evaluates a run on every goal: a map of what fails, and a film of the worst."""

from pathlib import Path

import numpy as np

from torchrl_lite.analysis.goal_map import GoalResults, goal_map, places, where
from torchrl_lite.config.machine import cores
from torchrl_lite.errors import UserError
from torchrl_lite.policies.evaluate import evaluate
from torchrl_lite.policies.film import Replay, check_renderer, record
from torchrl_lite.policies.load import load_policy
from torchrl_lite.policies.policy import Policy
from torchrl_lite.reporting.film import TILE, tiled, write_film

WORST = 9
"""Goals in the film."""
MAP, FILM = "goals.png", "worst_goals.mp4"


def report_goals(folder: Path, *, trust_imports: bool = False) -> str:
    """Writes the map and the film to the run directory; returns sentences about both.

    Raises:
        UserError: its tasks have no goals, or films cannot be made here.
    """
    policy = load_policy(folder, trust_imports=trust_imports)
    if policy.config.env.suite != "metaworld":
        raise UserError(f"--goals: the tasks of {folder} have no goals; Meta-World's have")
    check_renderer(policy.config.env, seed=policy.seed, source="--goals")
    results = evaluated(policy, workers=cores())
    goal_map(results).savefig(folder / MAP, dpi=150)
    lines = [*(where(one) for one in results), f"map: {folder / MAP}"]
    worst = worst_goals(results)
    if worst:
        films = [
            record(Replay(policy.config.env, policy.actor, task, policy.seed, goal), size=TILE)
            for task, goal in worst
        ]
        write_film(folder / FILM, tiled(films))
        lines.append(f"film of the {len(worst)} worst: {folder / FILM}")
    return "\n".join(lines)


def evaluated(policy: Policy, *, workers: int) -> list[GoalResults]:
    """An episode on each goal of each task; episode j is on goal j."""
    count, seed = policy.config.env.num_goals, policy.seed
    tasks, _ = evaluate(policy, episodes=count, seed=seed, workers=workers)
    return [
        GoalResults(
            one.task,
            places(one.task, seed, count),
            np.array([bool(success) for success in one.successes]),
            np.array(one.returns),
        )
        for one in tasks
    ]


def worst_goals(results: list[GoalResults]) -> list[tuple[int, int]]:
    """Task and goal of failures: the worst of each task, then the second of each, and so on."""
    ranked = [
        (rank, task, goal)
        for task, one in enumerate(results)
        for rank, goal in enumerate(one.failed)
    ]
    return [(task, goal) for _, task, goal in sorted(ranked)[:WORST]]
