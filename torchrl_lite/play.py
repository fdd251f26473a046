"""A trained policy, evaluated and filmed."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from scipy.stats import binomtest

from torchrl_lite import checkpoint
from torchrl_lite.algo import ALGORITHMS
from torchrl_lite.collector import Collector, EpisodeStats, record, watch
from torchrl_lite.config import Config, ConfigError, check, nearest
from torchrl_lite.env import make_spec
from torchrl_lite.network import Actor
from torchrl_lite.rendering import write_film
from torchrl_lite.request import SECTIONS, check_imports


class Policy(NamedTuple):
    """An actor and what it was trained for."""

    actor: Actor
    config: Config
    frames: int


class TaskSummary(NamedTuple):
    """Episodes of one task; ``low`` and ``high`` bound the success rate with 95 % confidence.

    The three are None where the task does not tell of success.
    """

    task: str
    episodes: int
    success: float | None
    low: float | None
    high: float | None
    ret: float
    length: float


def weights_of(folder: Path) -> Path:
    """The weights of a run directory: its best, else its newest.

    Raises:
        ConfigError: it has none.
    """
    path = checkpoint.weights_of_run(folder)
    if path is None:
        raise ConfigError(f"--run: {folder} is no run directory: it has no checkpoint")
    return path


def load_policy(path: Path, *, trust_imports: bool = False) -> Policy:
    """The policy of a checkpoint.

    Raises:
        ConfigError: there is no such file, its configuration is none, or names packages to import
            and is not trusted.
        CheckpointError: it is damaged, or no checkpoint with weights.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file")
    state = checkpoint.load(path)
    networks = state.get("networks", state.get("learner", {}).get("networks"))
    tree = state.get("config")
    if networks is None or not isinstance(tree, dict):
        raise checkpoint.CheckpointError(f"{path}: holds no weights with their configuration")
    config = check(tree, algo=tree.get("algo"), sections=SECTIONS, source=str(path))
    if not trust_imports:
        check_imports(config, path)
    spec = make_spec(config.env)
    learner = ALGORITHMS[config.algo][0](
        config.agent, config.net, spec, device=torch.device("cpu"), seed=0
    )
    try:
        learner.load_state_dict(networks)
    except RuntimeError as error:
        raise checkpoint.CheckpointError(f"{path}: {error}") from None
    return Policy(learner.actor, config, _frames(state))


def seed_of(path: Path) -> int:
    """The seed of the run that a checkpoint lies in, which drew its goals; 1 outside of one."""
    versions = path.parent.parent / "versions.json"
    return json.loads(versions.read_text(encoding="utf-8"))["seed"] if versions.exists() else 1


def _frames(state: dict[str, Any]) -> int:
    frames = state.get("frames", 0)
    return sum(frames) if isinstance(frames, list) else int(frames)


def tasks_of(policy: Policy, names: Sequence[str]) -> list[int]:
    """Numbers of the named tasks; all of them without a name.

    Raises:
        ConfigError: the policy was not trained on one.
    """
    known = policy.config.env.tasks
    for name in names:
        if name not in known:
            raise ConfigError(f"--task: {name!r} is none of this policy's{nearest(name, known)}")
    return [known.index(name) for name in names] or list(range(len(known)))


def evaluate(
    policy: Policy, tasks: Sequence[int], *, episodes: int, seed: int, workers: int
) -> tuple[list[TaskSummary], float]:
    """Deterministic episodes on goals spread over all of them; and the frames per second."""
    config = policy.config.env
    with Collector(
        config, make_spec(config), policy.actor, epoch_frames=1, seed=seed, workers=workers
    ) as collector:
        started = time.perf_counter()
        results = collector.evaluate(policy.actor, tasks, episodes)
        seconds = time.perf_counter() - started
    summaries = [
        _summary(config.tasks[task], [stats for stats in results if stats.task == task])
        for task in tasks
    ]
    return summaries, sum(stats.length for stats in results) / seconds


def _summary(task: str, results: Sequence[EpisodeStats]) -> TaskSummary:
    count = len(results)
    told = [stats.success > 0 for stats in results if stats.success is not None]
    interval = binomtest(sum(told), count).proportion_ci(method="wilson") if told else None
    return TaskSummary(
        task=task,
        episodes=count,
        success=sum(told) / count if told else None,
        low=float(interval.low) if interval else None,
        high=float(interval.high) if interval else None,
        ret=sum(stats.ret for stats in results) / count,
        length=sum(stats.length for stats in results) / count,
    )


def show(policy: Policy, task: int, *, seed: int, camera: str | None) -> None:
    """The first episode of an evaluation, in a window."""
    watch(policy.config.env, policy.actor, task, seed=seed, camera=camera)


def film(path: Path, policy: Policy, task: int, *, seed: int, camera: str | None) -> None:
    """The same in real time, as a film."""
    write_film(path, record(policy.config.env, policy.actor, task, seed=seed, camera=camera))
