"""Copies tensors of other networks into ours: task by task for per-task parameters, and feature by
feature where padding differs."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from torchrl_lite.network.task_rows import places_of_task_rows
from torchrl_lite.transfer.pairing import Fit, Widths, aligned

CRITICS = ("critic", "target")
READS_INPUT = (
    "body.trunk.layers.0.weight",
    "body.observation.layers.0.weight",
    "body.hidden.0.weight",
    "body.trunk.experts.layers.0.weight",
)
"""Weights of the layers that read the observation (in a critic, followed by the action)."""
_ENCODERS, _BEHIND_THEM = "body.trunk.encoders.layers.0.weight", "body.trunk.mlp.layers.0.weight"
"""CARE's: they read the observation alone, and in a critic the action before the encodings."""
_HEAD, _FIRST_BIAS = "body.head.", "body.trunk.layers.0.bias"
_EMBEDDING = "body.trunk.embedding."
_STATISTICS, _COUNT = ("body.normalizer.mean", "body.normalizer.var"), "body.normalizer.count"


class Report(NamedTuple):
    """The outcome for each tensor."""

    loaded: list[str]
    skipped: list[str]
    """Tensors that are only in the file, and tensors that the file lacks."""
    mismatched: list[str]

    def lines(self) -> list[str]:
        """One line per non-empty list."""
        return [f"{kind}: {', '.join(names)}" for kind, names in self._asdict().items() if names]


class Plan(NamedTuple):
    """Which entries of a tensor to copy: tasks (the second dimension) and features (``axis``)."""

    tasks: Mapping[int, int]
    """Index here, index there."""
    here: list[int]
    there: list[int]
    axis: int
    note: str


_USELESS = Plan({}, [], [], 0, " (of no use alone)")


def load_module(
    module: nn.Module, given: Mapping[str, Tensor], part: str, *, fit: Fit, report: Report
) -> None:
    """Copy the tensors in ``given`` that fit into ``module``, whose name is ``part``."""
    own, per_task = module.state_dict(), places_of_task_rows(module)
    if not any(name.startswith(_EMBEDDING) for name in own):
        given = _with_bias_rows(given)
    report.skipped.extend(sorted(f"{part}.{name}" for name in own.keys() ^ given.keys()))
    plans = {
        name: _plan(
            name, own[name], given[name], per_task=name in per_task, critic=part in CRITICS, fit=fit
        )
        for name in own
        if name in given
    }
    if _COUNT in plans and not all(plans.get(name) for name in _STATISTICS):
        plans[_COUNT] = _USELESS
    useful = (name for name, plan in plans.items() if plan not in (None, _USELESS))
    if all(name.endswith(".bias") for name in useful):
        plans = {name: plan and _USELESS for name, plan in plans.items()}  # biases fit any width
    for name, plan in plans.items():
        _load(own[name], given[name], f"{part}.{name}", plan=plan, report=report)


def load_temperatures(mine: Tensor, theirs: Tensor, *, fit: Fit, report: Report) -> None:
    """Copy log temperatures, ``[T]``."""
    mine, theirs = mine.detach().view(1, -1, 1), theirs.reshape(1, -1, 1)
    plan = _plan("log_alpha", mine, theirs, per_task=True, critic=False, fit=fit)
    _load(mine, theirs, "log_alpha", plan=plan, report=report)


def _with_bias_rows(given: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Convert task embeddings to the equivalent per-task biases."""
    names = (_FIRST_BIAS, f"{_EMBEDDING}rows", f"{_EMBEDDING}weight")
    if any(name not in given for name in names):
        return given
    bias, rows, weight = (given[name] for name in names)
    rest = {name: tensor for name, tensor in given.items() if name not in names}
    return rest | {_FIRST_BIAS: bias + normalize(rows, dim=-1) @ weight}


def _plan(
    name: str, mine: Tensor, theirs: Tensor, *, per_task: bool, critic: bool, fit: Fit
) -> Plan | None:
    """None if the tensors do not fit."""
    if mine.ndim != theirs.ndim:
        return None
    tasks = _tasks((mine.shape[1], theirs.shape[1]), fit if per_task else None)
    axis, segments = _layout(name, mine, theirs, critic=critic, fit=fit)
    fitting = list(mine.shape)
    fitting[1], fitting[axis] = theirs.shape[1], sum(there for _, there in segments)
    if tasks is None or list(theirs.shape) != fitting:
        return None
    only_mean = any(max(widths) > min(widths) == 0 for widths in segments)
    return Plan(tasks, *aligned(segments), axis, " (the mean)" if only_mean else "")


def _tasks(sizes: Widths, fit: Fit | None) -> Mapping[int, int] | None:
    """Indices in the second dimension; None if it is neither the tasks nor 1, or differs."""
    here, there = sizes
    if fit is None or sizes == (1, 1):
        return {index: index for index in range(here)} if here == there else None
    if here != fit.num_tasks[0] or there not in (1, fit.num_tasks[1]):
        return None
    return fit.tasks if there > 1 else dict.fromkeys(fit.tasks, 0)


def _layout(
    name: str, mine: Tensor, theirs: Tensor, *, critic: bool, fit: Fit
) -> tuple[int, list[Widths]]:
    """The axis of a tensor's features, and the segments that they consist of."""
    if reads := _reads(name, critic=critic, fit=fit):
        rest = mine.shape[-2] - sum(here for here, _ in reads)
        return -2, [*reads, (rest, rest)]
    if name in _STATISTICS:
        return -1, [fit.obs]
    here, there = mine.shape[-1], theirs.shape[-1]
    if name.startswith(_HEAD) and not critic:  # the mean, and possibly the log standard deviation
        both_there = there == 2 * fit.act[1]
        return -1, [fit.act, (here - fit.act[0], fit.act[1] if both_there else 0)]
    return -1, [(here, here)]


def _reads(name: str, *, critic: bool, fit: Fit) -> list[Widths]:
    """What of a network's input a layer reads, before anything else."""
    act = [fit.act] if critic else []
    if name in READS_INPUT:
        return [fit.obs, *act]
    if name == _BEHIND_THEM:
        return act
    return [fit.obs] if name == _ENCODERS else []


@torch.no_grad()
def _load(mine: Tensor, theirs: Tensor, name: str, *, plan: Plan | None, report: Report) -> None:
    if plan is None:
        shapes = f"{list(theirs.shape)} in the file, {list(mine.shape)} here"
        report.mismatched.append(f"{name} ({shapes})")
        return
    if not plan.tasks:
        report.skipped.append(name + (plan.note or " (no matching task)"))
        return
    index = torch.tensor(plan.here, device=mine.device)
    for here, there in plan.tasks.items():
        new = theirs[:, there].index_select(plan.axis, torch.tensor(plan.there)).to(mine)
        mine[:, here].index_copy_(plan.axis, index, new)
    count, total = len(plan.tasks), mine.shape[1]
    some = f" ({count} of {total} tasks)" if count < total else ""
    report.loaded.append(name + plan.note + some)
