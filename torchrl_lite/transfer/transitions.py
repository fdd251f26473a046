"""Transitions of another run, task by task, into the replay buffer of this one."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from torchrl_lite.algo.replay_buffer import ReplayBuffer, row_widths
from torchrl_lite.checkpoint.store import Saved, complete_checkpoint
from torchrl_lite.errors import CheckpointError, UserError
from torchrl_lite.policies.sources import facts_of
from torchrl_lite.transfer.pairing import Fit
from torchrl_lite.types import Spec


def carry_over(
    path: Path, buffer: ReplayBuffer, spec: Spec, task_map: Mapping[str, str]
) -> dict[str, Any]:
    """Fills ``buffer`` with what the newest complete checkpoint of a run (or the one at ``path``)
    remembers of the tasks that ours take over; of more than there is room for, the newest.

    Returns, as plain data, the checkpoint and how many transitions came for each task.

    Raises:
        UserError: there is no such checkpoint, no task takes one over, or one has other
            features than the one it takes over.
    """
    try:
        saved = complete_checkpoint(path)
        facts = facts_of(saved.state, saved.path)
        fit = Fit.of(spec, facts, task_map, path=path)
        if not (facts.tasks and fit.tasks):
            raise CheckpointError(
                f"{path}: none of its tasks is here; transfer.task_map pairs them"
            )
        for here, there in fit.tasks.items():
            _check_features(spec, here, facts.shapes[there], f"{facts.tasks[there]} of {path}")
        remembered = _remembered(saved, fit, buffer.capacity)
        manifest = saved.path.with_suffix(".json").read_bytes()  # it vouches for all files
    except (CheckpointError, OSError) as error:
        raise UserError(f"transfer.load: buffer: {error}") from None
    for here, there in fit.tasks.items():
        buffer.add_rows(here, _laid_out(remembered[there], fit).to(buffer.data.device))
    return {
        "file": str(saved.path),
        "sha256_of_manifest": hashlib.sha256(manifest).hexdigest(),
        "transitions": {spec.tasks[h]: len(remembered[t]) for h, t in fit.tasks.items()},
    }


def _check_features(spec: Spec, here: int, theirs: list[int] | None, name: str) -> None:
    own = spec.shapes[spec.tasks[here]]
    if theirs not in (None, own):
        raise CheckpointError(
            f"{name} has {theirs[0]} observation features and {theirs[1]} action dimensions, "
            f"{spec.tasks[here]} has {own[0]} and {own[1]}"
        )


def _remembered(saved: Saved, fit: Fit, room: int) -> dict[int, Float[Tensor, "n D"]]:
    """The newest ``room`` transitions of each task that is taken over, oldest first."""
    width = sum(row_widths(*fit.there))
    chunks: dict[int, list[Tensor]] = {there: [] for there in fit.tasks.values()}
    try:
        written = saved.state["buffer"]["written"]
        size = saved.state["config"]["replay_buffer"]["size"]
        for there, first, rows in saved.rows(width):
            if there in chunks:
                # All but the newest has been overwritten.
                kept = written[there] - min(room, size // fit.tasks_there)
                chunks[there].append(rows[max(0, kept - first) :])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise CheckpointError(f"{saved.path}: not a checkpoint of a run ({error!r})") from None
    return {there: torch.cat([torch.empty(0, width), *rows]) for there, rows in chunks.items()}


def _laid_out(rows: Float[Tensor, "n D"], fit: Fit) -> Float[Tensor, "n d"]:
    """Rows with this run's padding, each by itself: what followed it there is elsewhere here."""
    result = rows.new_zeros(len(rows), sum(row_widths(*fit.here)))
    result[:, -3:-1] = rows[:, -3:-1]
    result[:, -1] = 1
    here, there = fit.features("obs", "act", "obs")
    result[:, here] = rows[:, there]
    return result
