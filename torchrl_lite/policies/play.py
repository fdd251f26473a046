"""Evaluates and films trained policies."""

import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import torch
from scipy.stats import binomtest

from torchrl_lite.algo.registry import ALGORITHMS, SECTIONS
from torchrl_lite.analysis.statistics import mean
from torchrl_lite.checkpoint import files
from torchrl_lite.checkpoint.records import read_versions
from torchrl_lite.checkpoint.store import weights_of_run
from torchrl_lite.collector.collector import Collector
from torchrl_lite.config import (
    Config,
    check,
    nearest,
)
from torchrl_lite.config.reading import read_bytes, reason
from torchrl_lite.config.trust import check_imports
from torchrl_lite.env import metaworld, rendering
from torchrl_lite.env.make import make_spec, make_task_env
from torchrl_lite.errors import CheckpointError, UserError
from torchrl_lite.network.actor import Actor
from torchrl_lite.policies import file as policy_file
from torchrl_lite.policies.file import TaskEvaluation
from torchrl_lite.policies.film import check_renderer, record, watch
from torchrl_lite.policies.head import MAX_BYTES, read_head
from torchrl_lite.policies.stable_baselines3 import Sb3Policy, read_sb3_policy
from torchrl_lite.reporting.film import check_film, write_film


class Policy(NamedTuple):
    """An actor and its training."""

    actor: Actor
    config: Config
    frames: int
    seed: int
    """Training seed, which drew the goals; 1 if unknown."""
    versions: dict[str, str]
    """Package versions of its training; empty if unknown."""
    origin: Sequence[dict[str, Any]] = ()
    """What its training started from, most recent first."""


class TaskSummary(NamedTuple):
    """Statistics of one task: ``low`` and ``high`` are the 95 % Wilson interval of the success
    rate, ``ret_low`` and ``ret_high`` the 95 % bootstrap interval of the mean return.

    ``success``, ``low`` and ``high`` are None if the task reports no success, ``ret_low`` and
    ``ret_high`` if there is only one episode.
    """

    task: str
    episodes: int
    success: float | None
    low: float | None
    high: float | None
    ret: float
    ret_low: float | None
    ret_high: float | None
    length: float


def weights_of(folder: Path) -> Path:
    """The weights file of a run directory: its best, else its newest.

    Raises:
        UserError: it has none.
    """
    path = weights_of_run(folder)
    if path is None:
        below = [file.parent.parent for file in sorted(folder.glob("**/checkpoint/*.pt"))]
        hint = f"; did you mean {below[0]}?" if below else ""
        raise UserError(f"--run: {folder} is not a run directory: it has no checkpoint{hint}")
    return path


def load_policy(path: Path, *, task: str | None = None, trust_imports: bool = False) -> Policy:
    """Loads a policy from a checkpoint, a policy file or a Stable-Baselines3 zip.

    A zip does not name its ``task``: a Meta-World task or a Gymnasium id.

    Raises:
        UserError: there is no such file; its configuration is invalid, or imports packages and is
            not trusted; its shapes do not match its tasks.
        CheckpointError: it is damaged, or contains no policy.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.suffix == policy_file.SUFFIX:
        return _of_policy_file(path, trust_imports=trust_imports)
    try:
        content = read_bytes(path, most=MAX_BYTES)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason(error)})") from None
    agent = read_sb3_policy(content, path)
    if agent is not None:
        return _of_sb3(agent, path, task)
    return _of_checkpoint(files.load(path, BytesIO(content)), path, trust_imports)


def _of_policy_file(path: Path, *, trust_imports: bool) -> Policy:
    file = policy_file.read(path)
    if not trust_imports:
        check_imports(file.config, path)
    spec = make_spec(file.config.env)
    for task, shape in spec.shapes.items():
        _check_sizes(path, task, file.spec.shapes[task], shape)
    header = file.header
    return Policy(
        file.actor(), file.config, header.frames, header.seed, header.versions, header.origin
    )


def _of_sb3(agent: Sb3Policy, path: Path, task: str | None) -> Policy:
    if task is None:
        raise UserError(f"--task: {path} does not name its environment; give its task")
    known = [*metaworld.TASKS, *gym.registry]
    if task not in known:
        raise UserError(
            f"--task: {task!r} is neither a Meta-World v3 task nor a Gymnasium id"
            f"{nearest(task, known)}"
        )
    suite = "metaworld" if task in metaworld.TASKS else "gymnasium"
    tree = {
        "env": {"suite": suite, "tasks": [task]},
        "net": {"hidden_shapes": agent.hidden_shapes},
    }
    config = check(tree, algo=agent.algo, sections=SECTIONS, source=str(path))
    spec = make_spec(config.env)
    _check_sizes(path, task, [agent.obs_dim, agent.act_dim], spec.shapes[task])
    kind: policy_file.Kind = "gaussian" if agent.is_gaussian else "deterministic"
    actor = policy_file.blank_actor(kind, config.net, spec)
    actor.load_state_dict(agent.body)
    return Policy(actor, config, agent.frames, seed=1, versions={})


def _check_sizes(path: Path, task: str, mine: list[int], theirs: list[int]) -> None:
    if mine != theirs:
        raise UserError(
            f"{path}: is for observations of {mine[0]} and actions of {mine[1]} dimensions; "
            f"{task} has {theirs[0]} and {theirs[1]}"
        )


def _of_checkpoint(state: dict[str, Any], path: Path, trust_imports: bool) -> Policy:
    tree = state.get("config")
    if not isinstance(tree, dict) or not state.keys() & {"networks", "learner"}:
        raise CheckpointError(f"{path}: has no weights with a configuration")
    config = check(tree, algo=tree.get("algo"), sections=SECTIONS, source=str(path))
    if not trust_imports:
        check_imports(config, path)
    head = read_head(state, path)
    spec = make_spec(config.env)
    learner = ALGORITHMS[config.algo][0](
        config.agent, config.net, spec, device=torch.device("cpu"), seed=0
    )
    try:
        learner.load_state_dict(head.weights or {})
    except RuntimeError as error:
        raise CheckpointError(f"{path}: {' '.join(str(error).split())}") from None
    versions = read_versions(path.parent.parent)
    seed, packages = (1, {}) if versions is None else (versions.seed, versions.others)
    return Policy(learner.actor, config, head.total_frames, seed, packages, head.origin)


def tasks_of(policy: Policy, names: Sequence[str]) -> list[int]:
    """Indices of the named tasks; of all tasks if no name is given.

    Raises:
        UserError: the policy was not trained on one of them.
    """
    known = policy.config.env.tasks
    for name in names:
        if name not in known:
            raise UserError(
                f"--task: {name!r} is not a task of this policy; it has {', '.join(known)}"
                f"{nearest(name, known)}"
            )
    return [known.index(name) for name in dict.fromkeys(names)] or list(range(len(known)))


def evaluate(
    policy: Policy, tasks: Sequence[int], *, episodes: int, seed: int, workers: int
) -> tuple[list[TaskEvaluation], float]:
    """Runs deterministic episodes on evenly spread goals; also returns the frames per second."""
    config = policy.config.env.model_copy(update={"num_envs": policy.config.num_tasks})
    with Collector(
        config, make_spec(config), policy.actor, epoch_frames=1, seed=seed, workers=workers
    ) as collector:
        started = time.perf_counter()
        results = collector.evaluate(policy.actor, tasks, episodes)
        seconds = time.perf_counter() - started
    evaluations = [
        TaskEvaluation.of(config.tasks[task], [stats for stats in results if stats.task == task])
        for task in tasks
    ]
    return evaluations, sum(stats.length for stats in results) / seconds


def summary(evaluation: TaskEvaluation) -> TaskSummary:
    count = len(evaluation.returns)
    told = [success for success in evaluation.successes if success is not None]
    interval = binomtest(sum(told), len(told)).proportion_ci(method="wilson") if told else None
    ret = mean(evaluation.returns)
    return TaskSummary(
        task=evaluation.task,
        episodes=count,
        success=sum(told) / len(told) if told else None,
        low=float(interval.low) if interval else None,
        high=float(interval.high) if interval else None,
        ret=sum(evaluation.returns) / count,
        ret_low=ret.low,
        ret_high=ret.high,
        length=sum(evaluation.lengths) / count,
    )


def check_video(path: Path, policy: Policy, tasks: Sequence[int], *, camera: str | None) -> None:
    """Checks, before a long evaluation, that its films can be made.

    Raises:
        UserError: the file name, the rendering or the camera does not work.
    """
    check_film(path)
    config = policy.config.env
    check_renderer(config, seed=policy.seed, tasks=tasks, camera=camera, source="--video")


def check_window(policy: Policy, tasks: Sequence[int], *, camera: str | None) -> None:
    """Checks that a window can be opened.

    Raises:
        UserError: it cannot, or there is no such camera.
    """
    rendering.check_window()
    for task in tasks if camera else ():
        make_task_env(
            policy.config.env, task, seed=policy.seed, render_mode="rgb_array", camera=camera
        ).close()


def show(policy: Policy, task: int, *, seed: int, camera: str | None) -> bool:
    """Shows the first evaluation episode in a window; False if the user closes it."""
    return watch(policy.config.env, policy.actor, task, seed=seed, camera=camera)


def film(path: Path, policy: Policy, task: int, *, seed: int, camera: str | None) -> None:
    """Films the same episode in real time."""
    write_film(path, record(policy.config.env, policy.actor, task, seed=seed, camera=camera))
