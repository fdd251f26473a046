"""Weights to start from: of another run, of a plain file, or of Stable-Baselines3.

Nothing in a file is ever executed: tensors are read with ``weights_only``, a zip's data as JSON,
and nothing is unpacked to disk.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from torchrl_lite import checkpoint
from torchrl_lite.algo.learner import Learner
from torchrl_lite.checkpoint import CheckpointError
from torchrl_lite.config import ConfigError, nearest

Parts = dict[str, dict[str, Tensor]]
"""Named tensors of each part (``actor``, ``critic``, ...), with our names and in our layout."""

FOLLOWERS = {"actor": "target_actor", "critic": "target"}
"""What starts as a copy of a part, where a learner has it."""


class Report(NamedTuple):
    """What became of the weights, tensor by tensor."""

    loaded: list[str]
    skipped: list[str]
    """Those of the file that have no place here, and those here that the file has nothing for."""
    mismatched: list[str]

    def lines(self) -> list[str]:
        """For a person; what is empty is left out."""
        return [f"{kind}: {', '.join(names)}" for kind, names in self._asdict().items() if names]


def read_weights(path: Path) -> Parts:
    """The weights in a file, or in a run directory (its best checkpoint, else its last).

    A file is a checkpoint of ours, a ``state_dict`` of an actor (ours, or linear layers in their
    order with ReLU between, the mean and the log standard deviation in one head or in two), or a
    zip that Stable-Baselines3 saved of SAC, TD3 or DDPG.

    Raises:
        ConfigError: there is no such file, or it is none of these.
    """
    if path.is_dir():
        weights = checkpoint.weights_of_run(path)
        if weights is None:
            raise ConfigError(f"--init_from: {path} is no run directory: it has no checkpoint")
        path = weights
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ConfigError(f"--init_from: {path} is not there{nearest(path.name, beside)}")
    try:
        members = _zip_of_sb3(path)
        return _of_state(checkpoint.load(path), path) if members is None else _of_sb3(members, path)
    except (CheckpointError, OSError) as error:
        raise ConfigError(f"--init_from: {error}") from None
    except (RuntimeError, ValueError) as error:  # shapes that do not go together
        raise ConfigError(f"--init_from: {path}: its tensors are no networks ({error})") from None


def load_weights(learner: Learner, parts: Parts, *, load: Sequence[str] = ("actor",)) -> Report:
    """Copies the tensors of these parts that fit; what follows a part starts as its copy."""
    report = Report([], [], [])
    for part in load:
        module: nn.Module = getattr(learner, part)
        _load_part(module, parts.get(part, {}), part, report)
        if hasattr(learner, FOLLOWERS[part]):
            getattr(learner, FOLLOWERS[part]).load_state_dict(module.state_dict())
    return report


def start_from(learner: Learner, path: Path, *, optional: bool) -> list[str]:
    """Gives a learner the actor in a file; returns what became of it, in lines for a person.

    Raises:
        ConfigError: the file cannot be read, or nothing in it fits and it is not ``optional``.
    """
    report = load_weights(learner, read_weights(path))
    if report.loaded:
        return [f"weights of {path}", *report.lines()]
    if not optional:
        why = "; ".join(report.lines())
        raise ConfigError(f"--init_from: nothing in {path} fits the actor ({why})")
    return [f"warning: nothing in {path} fits the actor, training starts anew", *report.lines()]


@torch.no_grad()
def _load_part(module: nn.Module, given: Mapping[str, Tensor], part: str, report: Report) -> None:
    own = module.state_dict()
    report.skipped.extend(f"{part}.{name}" for name in own.keys() ^ given.keys())
    report.skipped.sort()
    for name in (name for name in own if name in given):
        mine, theirs = own[name], given[name]
        if mine.shape == theirs.shape:
            mine.copy_(theirs)
            report.loaded.append(f"{part}.{name}")
        elif name.startswith("body.head.") and _is_mean(theirs, mine):
            mine[..., : theirs.shape[-1]] = theirs
            report.loaded.append(f"{part}.{name} (the mean)")
        else:
            shapes = f"{list(theirs.shape)} in the file, {list(mine.shape)} here"
            report.mismatched.append(f"{part}.{name} ({shapes})")


def _is_mean(theirs: Tensor, mine: Tensor) -> bool:
    """Whether a deterministic head meets one of mean and log standard deviation."""
    return (*theirs.shape[:-1], 2 * theirs.shape[-1]) == tuple(mine.shape)


def _of_state(state: dict, path: Path) -> Parts:
    learner = state.get("learner")
    if isinstance(learner, dict):  # a complete checkpoint
        state = learner
    networks = state.get("networks", state)
    if not isinstance(networks, dict) or not networks:
        raise CheckpointError(f"{path}: holds no weights")
    for name, value in networks.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: {name!r} is no named tensor, as in a state_dict all are"
            )
    if any(name.startswith("actor.body.") for name in networks):
        parts: Parts = {}
        for name, value in networks.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest or name] = value
        return parts
    if any(name.startswith("body.") for name in networks):
        return {"actor": networks}
    return {"actor": _actor(_linears(networks), path)}


def _check_names(tensors: Mapping[Any, Any], path: Path) -> None:
    for name, value in tensors.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: {name!r} is no named tensor, as in a state_dict all are"
            )


class _Linear(NamedTuple):
    weight: Tensor
    """``[out, in]``, as ``torch.nn.Linear`` has it."""
    bias: Tensor


def _linears(tensors: Mapping[str, Tensor], prefix: str = "") -> list[_Linear]:
    """The linear layers below ``prefix``, in the order of the file."""
    weights = {
        name: value
        for name, value in tensors.items()
        if name.startswith(prefix) and f".{name}".endswith(".weight") and value.ndim == 2
    }
    return [
        _Linear(value, tensors.get(f"{name.removesuffix('weight')}bias", torch.zeros(len(value))))
        for name, value in weights.items()
    ]


def _actor(layers: list[_Linear], path: Path) -> dict[str, Tensor]:
    if not layers:
        raise CheckpointError(f"{path}: holds no linear layers of an actor")
    if len(layers) > 1 and _are_two_heads(*layers[-2:]):
        mean, log_std = layers[-2:]
        both = _Linear(
            torch.cat((mean.weight, log_std.weight)), torch.cat((mean.bias, log_std.bias))
        )
        layers = [*layers[:-2], both]
    return _body([layers])


def _are_two_heads(one: _Linear, other: _Linear) -> bool:
    """Whether two layers read the same features, rather than one the other's."""
    return one.weight.shape == other.weight.shape and len(one.weight) != other.weight.shape[1]


def _body(members: Sequence[list[_Linear]]) -> dict[str, Tensor]:
    """An ensemble of plain networks with the names and the layout of ours."""
    named: dict[str, Tensor] = {}
    for depth, layer in enumerate(zip(*members, strict=True)):
        place = "head" if depth == len(members[0]) - 1 else f"trunk.layers.{depth}"
        named[f"body.{place}.weight"] = torch.stack([linear.weight.T for linear in layer])[:, None]
        named[f"body.{place}.bias"] = torch.stack([linear.bias for linear in layer])[:, None]
    return named


# --- Stable-Baselines3 ----------------------------------------------------------------------------


_MEMBERS = ("data", "policy.pth")


def _zip_of_sb3(path: Path) -> dict[str, bytes] | None:
    """The members that we read, or None where it is no zip of Stable-Baselines3."""
    try:
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "policy.pth" not in names:
                return None  # torch's own files are zips too
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise ValueError("it claims to hold more than its own size")  # none is compressed
            members = {name: archive.read(name) for name in names if name in _MEMBERS}
    except Exception as error:  # a damaged zip raises a dozen kinds
        raise CheckpointError(f"{path}: a damaged zip ({error})") from None
    for name in names:
        if name.startswith("/") or "\\" in name or ".." in PurePosixPath(name).parts:
            raise CheckpointError(f"{path}: {name!r} leads out of the archive")
    return members


def _of_sb3(members: Mapping[str, bytes], path: Path) -> Parts:
    """``policy.pth`` holds the tensors. The data are JSON with pickles in them, as text; what we
    ask of them, the activation, stands in plain words too."""
    _check_activation(members.get("data", b""), path)
    tensors = checkpoint.load(path, io.BytesIO(members["policy.pth"]))
    _check_names(tensors, path)
    critics = sorted({name.split(".")[1] for name in tensors if name.startswith("critic.qf")})
    parts: Parts = {"actor": _actor(_linears(tensors, "actor."), path)}
    if critics:
        parts["critic"] = _body([_linears(tensors, f"critic.{name}.") for name in critics])
    return parts


def _check_activation(data: bytes, path: Path) -> None:
    try:
        kwargs = json.loads(data).get("policy_kwargs") or {}
        activation = str(kwargs.get("activation_fn", "ReLU"))
    except (ValueError, AttributeError, RecursionError):
        raise CheckpointError(f"{path}: its data are not those of Stable-Baselines3") from None
    if "ReLU" not in activation:
        raise CheckpointError(f"{path}: its networks use {activation}, ours ReLU")
