"""Copies another run's transitions into the replay buffer of this one, task by task."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from torchrl_lite.algo.replay_buffer import ReplayBuffer, row_widths
from torchrl_lite.checkpoint.store import Saved, complete_checkpoint
from torchrl_lite.errors import CheckpointError, UserError
from torchrl_lite.policies.sources import facts_of
from torchrl_lite.transfer.pairing import Fit, aligned
from torchrl_lite.types import Spec


class Rewards(NamedTuple):
    """The rewards among carried transitions of a task, in time order."""

    rew: Float[ndarray, "L K"]
    first: Float[ndarray, "L K"]
    """1 where an episode begins."""


def carry_over(
    path: Path, buffer: ReplayBuffer, spec: Spec, task_map: Mapping[str, str]
) -> tuple[dict[str, Any], dict[int, Rewards]]:
    """Fill ``buffer`` with the transitions of paired tasks from the newest complete checkpoint of
    a run (or the one at ``path``); if there are too many, only the newest.

    Returns, as plain data, the checkpoint and the number of transitions per task; and the rewards
    of each task.

    Raises:
        UserError: there is no such checkpoint, no tasks are paired, or the sizes of paired tasks
            differ.
    """
    try:
        saved = complete_checkpoint(path)
        facts = facts_of(saved.state, saved.path)
        fit = Fit.of(spec, facts, task_map, path=path)
        if not (facts.tasks and fit.tasks):
            raise CheckpointError(
                f"{path}: none of its tasks is in this run; pair tasks with transfer.task_map"
            )
        for here, there in fit.tasks.items():
            _check_features(spec, here, facts.shapes[there], f"{facts.tasks[there]} of {path}")
        remembered, copies = _remembered(saved, fit, buffer.capacity)
        manifest = saved.path.with_suffix(".json").read_bytes()  # it has checksums of all files
    except (CheckpointError, OSError) as error:
        raise UserError(f"transfer.load: buffer: {error}") from None
    for here, there in fit.tasks.items():
        buffer.add_rows(here, _laid_out(remembered[there], fit))
    origin = {
        "file": str(saved.path),
        "sha256_of_manifest": hashlib.sha256(manifest).hexdigest(),
        "transitions": {spec.tasks[h]: len(remembered[t]) for h, t in fit.tasks.items()},
    }
    return origin, {h: _rewards(remembered[t], copies) for h, t in fit.tasks.items()}


def _rewards(rows: Float[Tensor, "n D"], copies: int) -> Rewards:
    copies = max(1, min(copies, len(rows)))
    whole = rows[len(rows) % copies :].double().numpy()
    return Rewards(whole[:, -3].reshape(-1, copies), whole[:, -1].reshape(-1, copies))


def _check_features(spec: Spec, here: int, theirs: list[int] | None, name: str) -> None:
    own = spec.shapes[spec.tasks[here]]
    if theirs not in (None, own):
        raise CheckpointError(
            f"{name} has {theirs[0]} observation features and {theirs[1]} action dimensions, "
            f"{spec.tasks[here]} has {own[0]} and {own[1]}"
        )


def _remembered(saved: Saved, fit: Fit, room: int) -> tuple[dict[int, Float[Tensor, "n D"]], int]:
    """The newest ``room`` transitions of each paired task, oldest first; and how many environments
    of a task they are from, in turn."""
    width = sum(row_widths(fit.obs[1], fit.act[1]))
    chunks: dict[int, list[Tensor]] = {there: [] for there in fit.tasks.values()}
    try:
        written = saved.state["buffer"]["written"]
        config = dict(saved.state["config"])  # a damaged one may be a tensor, which warns
        size = dict(config["replay_buffer"])["size"]
        copies = int(dict(config["env"])["num_envs"]) // fit.num_tasks[1]
        for there, first, rows in saved.rows(width):
            if there in chunks:
                # Older transitions are overwritten, or have no room here.
                kept = written[there] - min(room, size // fit.num_tasks[1])
                chunks[there].append(rows[max(0, kept - first) :])
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"{saved.path}: not a checkpoint of a run ({error!r})") from None
    whole = {there: torch.cat([torch.empty(0, width), *rows]) for there, rows in chunks.items()}
    return whole, copies


def _laid_out(rows: Float[Tensor, "n D"], fit: Fit) -> Float[Tensor, "n d"]:
    """Transitions with this run's padding, each marked ``first``: successors are not adjacent."""
    result = rows.new_zeros(len(rows), sum(row_widths(fit.obs[0], fit.act[0])))
    result[:, -3:-1] = rows[:, -3:-1]
    result[:, -1] = 1
    here, there = aligned([fit.obs, fit.act, fit.obs])
    result[:, here] = rows[:, there]
    return result
