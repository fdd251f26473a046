"""Tensors of other networks, put into ours: row by row where tasks have rows of their own, and
feature by feature where padding differs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from torchrl_lite.network.task_rows import places_of_task_rows
from torchrl_lite.transfer.pairing import Fit, Piece

CRITICS = ("critic", "target")
READS_INPUT = ("body.trunk.layers.0.weight", "body.observation.layers.0.weight")
"""The layers that see the observation, and in a critic the action behind it."""
_HEAD, _FIRST_BIAS = "body.head.", "body.trunk.layers.0.bias"
_EMBEDDING = "body.trunk.embedding."


class Report(NamedTuple):
    """What became of the weights, tensor by tensor."""

    loaded: list[str]
    skipped: list[str]
    """Those of the file that have no place here, and those here that the file has nothing for."""
    mismatched: list[str]

    def lines(self) -> list[str]:
        """For a person; what is empty is left out."""
        return [f"{kind}: {', '.join(names)}" for kind, names in self._asdict().items() if names]


class Features(NamedTuple):
    """The dimension of a tensor in which they lie, and where."""

    axis: int
    pieces: list[Piece]
    note: str = ""


def load_module(
    module: nn.Module, given: Mapping[str, Tensor], part: str, *, fit: Fit, report: Report
) -> None:
    """Copies into ``module`` what fits of the tensors ``given``; ``part`` is its name."""
    own, rowed = module.state_dict(), places_of_task_rows(module)
    if not any(name.startswith(_EMBEDDING) for name in own):
        given = _with_bias_rows(given)
    report.skipped.extend(sorted(f"{part}.{name}" for name in own.keys() ^ given.keys()))
    places: dict[str, Place | None] = {}
    for name in (name for name in own if name in given):
        mine, theirs = own[name], given[name]
        rows = features = None
        if mine.ndim == theirs.ndim:
            rows = _task_rows(mine, theirs, fit) if name in rowed else _all_rows(mine, theirs)
            features = _features(name, mine, theirs, critic=part in CRITICS, fit=fit)
        places[name] = _place(mine, theirs, rows, features)
    if not any(place for name, place in places.items() if not name.endswith(".bias")):
        places = dict.fromkeys(places)  # the last bias fits any width: that is no network
    for name, place in places.items():
        _load(own[name], given[name], f"{part}.{name}", place=place, report=report)


def load_temperatures(mine: Tensor, theirs: Tensor, *, fit: Fit, report: Report) -> None:
    """Logarithms of temperatures, ``[T]``."""
    mine, theirs = mine.detach().view(1, -1, 1), theirs.reshape(1, -1, 1)
    rows, features = _task_rows(mine, theirs, fit), Features(-1, [Piece(0, 0, 1)])
    place = _place(mine, theirs, rows, features)
    _load(mine, theirs, "log_alpha", place=place, report=report)


def _with_bias_rows(given: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A task's embedding adds a vector to the first layer's output: its bias row."""
    names = (_FIRST_BIAS, f"{_EMBEDDING}rows", f"{_EMBEDDING}weight")
    if any(name not in given for name in names):
        return given
    bias, rows, weight = (given[name] for name in names)
    rest = {name: tensor for name, tensor in given.items() if name not in names}
    return rest | {_FIRST_BIAS: bias + normalize(rows, dim=-1) @ weight}


Rows = Sequence[tuple[int, int]]
"""Pairs of rows, here and there; rows are the second dimension."""


def _all_rows(mine: Tensor, theirs: Tensor) -> Rows | None:
    count = mine.shape[1]
    return [(row, row) for row in range(count)] if theirs.shape[1] == count else None


def _task_rows(mine: Tensor, theirs: Tensor, fit: Fit) -> Rows | None:
    """None where the rows are not those of the tasks, or cannot become one for all of them."""
    here, there = mine.shape[1], theirs.shape[1]
    if here == there == 1:
        return [(0, 0)]
    if here != fit.tasks_here or there not in (1, fit.tasks_there):
        return None
    return [(mine_row, their_row if there > 1 else 0) for mine_row, their_row in fit.rows.items()]


def _features(
    name: str, mine: Tensor, theirs: Tensor, *, critic: bool, fit: Fit
) -> Features | None:
    """None where there are more or less of them than the tasks there have."""
    if name in READS_INPUT:
        inputs = ("obs", "act") if critic else ("obs",)
        fits = theirs.shape[-2] == sum(getattr(fit.there, feature) for feature in inputs)
        return Features(-2, fit.along(*inputs)) if fits else None
    if name.startswith(_HEAD) and not critic:  # the mean, and maybe the log standard deviation
        there, rest = divmod(theirs.shape[-1], fit.there.act)
        here = mine.shape[-1] // fit.here.act
        note = " (the mean)" if here != there else ""
        pieces = fit.along(*["act"] * min(here, there))
        return Features(-1, pieces, note) if there in (1, 2) and not rest else None
    size = mine.shape[-1]
    return Features(-1, [Piece(0, 0, size)]) if theirs.shape[-1] == size else None


class Place(NamedTuple):
    """Where a tensor of theirs goes in ours."""

    rows: Rows
    features: Features


def _place(
    mine: Tensor, theirs: Tensor, rows: Rows | None, features: Features | None
) -> Place | None:
    """None where it does not fit."""
    if rows is None or features is None or _rest(mine, features) != _rest(theirs, features):
        return None
    return Place(rows, features)


@torch.no_grad()
def _load(mine: Tensor, theirs: Tensor, name: str, *, place: Place | None, report: Report) -> None:
    if place is None:
        shapes = f"{list(theirs.shape)} in the file, {list(mine.shape)} here"
        report.mismatched.append(f"{name} ({shapes})")
    elif not place.rows:
        report.skipped.append(f"{name} (of no task that is here)")
    else:
        rows, (axis, pieces, note) = place
        for here, there in rows:
            for piece in pieces:
                new = theirs[:, there].narrow(axis, piece.there, piece.size)
                mine[:, here].narrow(axis, piece.here, piece.size).copy_(new)
        some = f" ({len(rows)} of {mine.shape[1]} tasks)" if len(rows) < mine.shape[1] else ""
        report.loaded.append(name + note + some)


def _rest(tensor: Tensor, features: Features) -> list[int]:
    """The sizes that have to be equal: not the rows, not the features."""
    sizes = list(tensor.shape)
    sizes[1] = sizes[features.axis] = 0
    return sizes
