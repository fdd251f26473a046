"""What a file to start from holds: a checkpoint of ours, a plain file, or Stable-Baselines3's.

Nothing in a file is ever executed: tensors are read with ``weights_only``, a zip's data as JSON,
and nothing is unpacked to disk.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchrl_lite import checkpoint
from torchrl_lite.checkpoint import CheckpointError
from torchrl_lite.config import ConfigError, nearest

Parts = dict[str, dict[str, Tensor]]
"""Named tensors of each part (``actor``, ``critic``, ...), with our names and in our layout."""


class Facts(NamedTuple):
    """What a checkpoint tells about its run; nothing, where it is a plain file."""

    tasks: Sequence[str] = ()
    """In the order of their rows."""
    shapes: Sequence[list[int] | None] = ()
    """Observation features and action dimensions of each, None where that is not told."""
    frames: int | None = None
    origin: Sequence[dict[str, Any]] = ()
    """What that run had started from, the nearest first."""


class Source(NamedTuple):
    """What was read."""

    path: Path
    """The file; of a run directory, the one in it."""
    sha256: str
    parts: Parts
    facts: Facts


def read_source(path: Path) -> Source:
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
        content = path.read_bytes()
        digest, members = hashlib.sha256(content).hexdigest(), _zip_of_sb3(path, content)
        if members is not None:
            return Source(path, digest, _of_sb3(members, path), Facts())
        state = checkpoint.load(path, BytesIO(content))
        return Source(path, digest, _of_state(state, path), facts_of(state, path))
    except (CheckpointError, OSError) as error:
        raise ConfigError(f"--init_from: {error}") from None
    except (RuntimeError, ValueError) as error:  # shapes that do not go together
        raise ConfigError(f"--init_from: {path}: its tensors are no networks ({error})") from None


def facts_of(state: Mapping[str, Any], path: Path) -> Facts:
    """Those of a loaded checkpoint; one of an earlier version tells no shapes and no origin.

    Raises:
        CheckpointError: they are not what a run writes.
    """
    if not isinstance(state.get("config"), dict):
        return Facts()
    try:
        tasks = [str(task) for task in state["config"]["env"]["tasks"]]
        shapes = dict(state.get("shapes", {}))
        pairs = [shapes.get(task) and [int(size) for size in shapes[task]] for task in tasks]
        if any(pair is not None and (len(pair) != 2 or min(pair) < 1) for pair in pairs):
            raise ValueError
        frames = state["frames"]
        count = sum(frames) if isinstance(frames, list) else int(frames)
        origin = [dict(link) for link in _as_json(state.get("origin", []))]
        return Facts(tasks, pairs, count, origin)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise CheckpointError(
            f"{path}: its tasks, frames or origin are not those of a run"
        ) from None


def _as_json(value: Any) -> Any:
    """The same, if it can stand in ``result.json`` one day."""
    return json.loads(json.dumps(value, allow_nan=False))


def _of_state(state: dict, path: Path) -> Parts:
    learner = state.get("learner")
    if isinstance(learner, dict):  # a complete checkpoint
        state = learner
    networks = state.get("networks", state)
    if not isinstance(networks, dict) or not networks:
        raise CheckpointError(f"{path}: holds no weights")
    _check_names(networks, path)
    if any(name.startswith("actor.body.") for name in networks):
        parts: Parts = {}
        for name, value in networks.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest or name] = value
        if "log_alpha" not in networks or not networks["log_alpha"].isfinite().all():
            parts.pop("log_alpha", None)  # a temperature of 0 has none
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
    return _body(layers)


def _are_two_heads(one: _Linear, other: _Linear) -> bool:
    """Whether two layers read the same features, rather than one the other's."""
    return one.weight.shape == other.weight.shape and len(one.weight) != other.weight.shape[1]


def _body(layers: Sequence[_Linear]) -> dict[str, Tensor]:
    """A plain network with the names and the layout of ours."""
    named: dict[str, Tensor] = {}
    for depth, layer in enumerate(layers):
        place = "head" if depth == len(layers) - 1 else f"trunk.layers.{depth}"
        named[f"body.{place}.weight"] = layer.weight.T[None, None]
        named[f"body.{place}.bias"] = layer.bias[None, None]
    return named


# --- Stable-Baselines3 ----------------------------------------------------------------------------


_MEMBERS = ("data", "policy.pth")


def _zip_of_sb3(path: Path, content: bytes) -> dict[str, bytes] | None:
    """The members that we read, or None where it is no zip of Stable-Baselines3."""
    try:
        if not zipfile.is_zipfile(BytesIO(content)):
            return None
        with zipfile.ZipFile(BytesIO(content)) as archive:
            names = archive.namelist()
            if "policy.pth" not in names:
                return None  # torch's own files are zips too
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
    tensors = checkpoint.load(path, BytesIO(members["policy.pth"]))
    _check_names(tensors, path)
    return {"actor": _actor(_linears(tensors, "actor."), path)}


def _check_activation(data: bytes, path: Path) -> None:
    try:
        kwargs = json.loads(data).get("policy_kwargs") or {}
        activation = str(kwargs.get("activation_fn", "ReLU"))
    except (ValueError, AttributeError, RecursionError):
        raise CheckpointError(f"{path}: its data are not those of Stable-Baselines3") from None
    if "ReLU" not in activation:
        raise CheckpointError(f"{path}: its networks use {activation}, ours ReLU")
