"""Detects non-finite values before they are stored or saved."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.errors import NotFiniteError
from torchrl_lite.types import Block

_QUANTITIES = {
    "obs": "observation",
    "act": "action",
    "rew": "reward",
    "next_obs": "next observation",
    "cont": "end of the episode",
    "first": "start of the episode",
}


def check_block(
    block: Block, tasks: Sequence[int], names: Sequence[str], *, before: Sequence[int]
) -> None:
    """``before`` is the number of earlier frames per environment, for each task.

    Raises:
        NotFiniteError: these tasks have a non-finite value; names the first such frame.
    """
    found: list[tuple[int, int, int, str]] = []
    for name, tensor in block._asdict().items():
        rows = tensor[list(tasks)]
        if torch.isfinite(rows.sum(dtype=torch.float64)):
            continue
        bad = ~rows.isfinite().reshape(*rows.shape[:3], -1).all(-1)  # [t, L, K]
        found += [(frame, tasks[row], copy, name) for row, frame, copy in bad.nonzero().tolist()]
    if found:
        frame, task, copy, name = min(found, key=lambda place: place[0])
        place = f"{names[task]} (copy {copy}): the {_QUANTITIES[name]}"
        raise NotFiniteError(
            f"{place} at frame {before[task] + frame + 1} is not finite; this epoch was not stored"
        )


def check_metrics(metrics: Mapping[str, float], names: Sequence[str], *, frame: int) -> None:
    """``metrics`` is the result of `Learner.flush`; per-task metrics are named before means.

    Raises:
        NotFiniteError: one is not finite, so the weights cannot be trusted.
    """
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        name = next((name for name in bad if name.startswith("train_")), bad[0])
        quantity, _, task = name.partition("/")
        if quantity == "train":
            quantity, task = task, ", ".join(names)
        raise NotFiniteError(
            f"{task}: {quantity.removeprefix('train_')} is "
            f"{metrics[name]} in the updates at frame {frame}; these weights were not saved"
        )


def check_episodes(
    episodes: Sequence[EpisodeStats], names: Sequence[str], *, frame: int | None = None
) -> None:
    """``episodes`` are from an evaluation, within a training after its first ``frame`` frames.

    Raises:
        NotFiniteError: a return or a sampled transition is not finite, so the evaluation cannot
            decide on the best weights.
    """
    place = "the evaluation" if frame is None else f"the evaluation at frame {frame}"
    rest = "" if frame is None else "; the last checkpoint remains valid"
    for stats in episodes:
        good = stats.sample is None or bool(np.isfinite(stats.sample).all())
        if not (good and math.isfinite(stats.ret)):
            quantity = "an observation, action or reward" if not good else "the return"
            raise NotFiniteError(f"{names[stats.task]}: {quantity} in {place} is not finite{rest}")
