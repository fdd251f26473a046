"""Copies tensors of other networks into ours: task by task for per-task parameters, and feature by
feature where padding differs."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from torchrl_lite.network.task_rows import places_of_task_rows
from torchrl_lite.transfer.pairing import Fit, Pairs

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
_STATISTICS = ("body.normalizer.mean", "body.normalizer.var")


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
    """Which entries of a tensor to copy: tasks (the second dimension), features (``axis``)."""

    tasks: Pairs
    features: Pairs
    axis: int = -1
    note: str = ""


def load_module(
    module: nn.Module, given: Mapping[str, Tensor], part: str, *, fit: Fit, report: Report
) -> None:
    """Copy the tensors in ``given`` that fit into ``module``, whose name is ``part``."""
    own, per_task = module.state_dict(), places_of_task_rows(module)
    if not any(name.startswith(_EMBEDDING) for name in own):
        given = _with_bias_rows(given)
    report.skipped.extend(sorted(f"{part}.{name}" for name in own.keys() ^ given.keys()))
    plans: dict[str, Plan | None] = {}
    for name in (name for name in own if name in given):
        mine, theirs = own[name], given[name]
        plans[name] = None
        if mine.ndim == theirs.ndim:
            tasks = _tasks(mine, theirs, fit) if name in per_task else _all(mine, theirs, 1)
            features = _features(name, mine, theirs, critic=part in CRITICS, fit=fit)
            plans[name] = _plan(mine, theirs, tasks, features)
    if not any(plan for name, plan in plans.items() if not name.endswith(".bias")):
        plans = dict.fromkeys(plans)  # the last bias fits any width; alone it is useless
    for name, plan in plans.items():
        _load(own[name], given[name], f"{part}.{name}", plan=plan, report=report)


def load_temperatures(mine: Tensor, theirs: Tensor, *, fit: Fit, report: Report) -> None:
    """Copy log temperatures, ``[T]``."""
    mine, theirs = mine.detach().view(1, -1, 1), theirs.reshape(1, -1, 1)
    tasks = _tasks(mine, theirs, fit)
    plan = tasks and Plan(tasks, Pairs([0], [0]))
    _load(mine, theirs, "log_alpha", plan=plan, report=report)


def _with_bias_rows(given: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Convert task embeddings to the equivalent per-task biases."""
    names = (_FIRST_BIAS, f"{_EMBEDDING}rows", f"{_EMBEDDING}weight")
    if any(name not in given for name in names):
        return given
    bias, rows, weight = (given[name] for name in names)
    rest = {name: tensor for name, tensor in given.items() if name not in names}
    return rest | {_FIRST_BIAS: bias + normalize(rows, dim=-1) @ weight}


def _all(mine: Tensor, theirs: Tensor, axis: int) -> Pairs | None:
    size = mine.shape[axis]
    return Pairs([*range(size)], [*range(size)]) if theirs.shape[axis] == size else None


def _tasks(mine: Tensor, theirs: Tensor, fit: Fit) -> Pairs | None:
    """None if the second dimension is neither the tasks nor 1, or theirs does not fit ours."""
    here, there = mine.shape[1], theirs.shape[1]
    if here == there == 1:
        return Pairs([0], [0])
    if here != fit.tasks_here or there not in (1, fit.tasks_there):
        return None
    sources = [*fit.tasks.values()] if there > 1 else [0] * len(fit.tasks)
    return Pairs([*fit.tasks], sources)


def _features(
    name: str, mine: Tensor, theirs: Tensor, *, critic: bool, fit: Fit
) -> tuple[Pairs | None, int, str]:
    """The features to copy (None if their number differs), their axis and a note."""
    if kinds := _reads(name, critic=critic):
        return _inputs(mine, theirs, kinds, fit), -2, ""
    if name in _STATISTICS:
        return fit.features("obs"), -1, ""
    if name.startswith(_HEAD) and not critic:  # the mean, and possibly the log standard deviation
        there, rest = divmod(theirs.shape[-1], fit.there[1])
        here = mine.shape[-1] // fit.here[1]
        fits = there in (1, 2) and not rest
        pairs = fit.features("act", "act") if here == there == 2 else fit.features("act")
        return pairs if fits else None, -1, " (the mean)" if here != there else ""
    return _all(mine, theirs, -1), -1, ""


def _reads(name: str, *, critic: bool) -> Sequence[Literal["obs", "act"]]:
    """What of a network's input a layer reads, before anything else."""
    if name in READS_INPUT:
        return ("obs", "act") if critic else ("obs",)
    if name == _BEHIND_THEM and critic:
        return ("act",)
    return ("obs",) if name == _ENCODERS else ()


def _inputs(
    mine: Tensor, theirs: Tensor, kinds: Sequence[Literal["obs", "act"]], fit: Fit
) -> Pairs | None:
    """Features of these kinds, and all inputs behind them; None where those are not as many."""
    index = [("obs", "act").index(kind) for kind in kinds]
    here, there = sum(fit.here[i] for i in index), sum(fit.there[i] for i in index)
    rest = mine.shape[-2] - here
    if theirs.shape[-2] != there + rest:
        return None
    pairs = fit.features(*kinds)
    return Pairs(
        [*pairs.here, *range(here, here + rest)], [*pairs.there, *range(there, there + rest)]
    )


def _plan(
    mine: Tensor, theirs: Tensor, tasks: Pairs | None, features: tuple[Pairs | None, int, str]
) -> Plan | None:
    """None if the tensors do not fit."""
    pairs, axis, note = features
    if tasks is None or pairs is None or _rest(mine, axis) != _rest(theirs, axis):
        return None
    return Plan(tasks, pairs, axis, note)


def _rest(tensor: Tensor, axis: int) -> list[int]:
    """The sizes that must be equal: all except tasks and features."""
    sizes = list(tensor.shape)
    sizes[1] = sizes[axis] = 0
    return sizes


@torch.no_grad()
def _load(mine: Tensor, theirs: Tensor, name: str, *, plan: Plan | None, report: Report) -> None:
    if plan is None:
        shapes = f"{list(theirs.shape)} in the file, {list(mine.shape)} here"
        report.mismatched.append(f"{name} ({shapes})")
        return
    tasks, features, axis, note = plan
    if not tasks.here:
        report.skipped.append(f"{name} (no matching task)")
        return
    for here, there in zip(*tasks, strict=True):
        new = theirs[:, there].index_select(axis, torch.tensor(features.there)).to(mine)
        mine[:, here].index_copy_(axis, torch.tensor(features.here, device=mine.device), new)
    some = (
        f" ({len(tasks.here)} of {mine.shape[1]} tasks)" if len(tasks.here) < mine.shape[1] else ""
    )
    report.loaded.append(name + note + some)
