"""Reads the weights a run starts from: our checkpoints and policy files, plain files, and
Stable-Baselines3 zips. No code in a file is executed: tensors are read with ``weights_only``.
"""

import hashlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from torchrl_lite.checkpoint import files
from torchrl_lite.checkpoint.state import check_state
from torchrl_lite.checkpoint.store import weights_of
from torchrl_lite.config import nearest
from torchrl_lite.config.reading import read_bytes, reason
from torchrl_lite.errors import CheckpointError, UserError
from torchrl_lite.policies import file as policy_file
from torchrl_lite.policies import shipped
from torchrl_lite.policies.head import MAX_BYTES, Head, Net
from torchrl_lite.policies.plain import check_names, plain_actor
from torchrl_lite.policies.stable_baselines3 import read_sb3_policy

Parts = dict[str, dict[str, Tensor]]
"""Named tensors of each part (``actor``, ``critic``, ...), in our names and layout."""


class Facts(NamedTuple):
    """A checkpoint's data about its run; empty for a plain file."""

    tasks: Sequence[str] = ()
    """In the order of the networks' task dimension."""
    shapes: Sequence[list[int] | None] = ()
    """Observation and action size of each; None if unknown."""
    frames: int | None = None
    origin: Sequence[dict[str, Any]] = ()
    """What that run started from, most recent first."""
    net: Net | None = None
    """None if unknown."""


class Source(NamedTuple):
    """The weights of a file."""

    path: Path
    """The file; for a run directory, the file inside it."""
    sha256: str
    parts: Parts
    facts: Facts


def read_source(path: Path) -> Source:
    """Reads the weights of a file, or of a run directory (its best checkpoint, else its last).

    A file is one of our checkpoints, a policy file, an actor's ``state_dict``, or a
    Stable-Baselines3 zip of SAC, TD3 or DDPG. The actor is ours, or consecutive linear layers with
    ReLU between them, with the mean and the log standard deviation in one head or two.

    Raises:
        UserError: there is no such file, or it is none of these.
    """
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, beside)
        if path.name in shipped.names():
            hint = f"; did you mean {shipped.find(path.name)}?"
        raise UserError(f"--init_from: {path} does not exist{hint}")
    try:
        path = weights_of(path) if path.is_dir() else path
        content = read_bytes(path, most=MAX_BYTES)
        digest = hashlib.sha256(content).hexdigest()
        if path.suffix == policy_file.SUFFIX:
            return Source(path, digest, *_of_policy_file(path))
        agent = read_sb3_policy(content, path)
        if agent is not None:
            return Source(path, digest, {"actor": agent.body}, Facts(net=Net()))
        state = files.load(path, BytesIO(content))
        return Source(path, digest, *_of_state(state, path))
    except (CheckpointError, UserError) as error:
        raise UserError(f"--init_from: {error}") from None
    except OSError as error:
        raise UserError(f"--init_from: {path}: cannot be read ({reason(error)})") from None
    except (RuntimeError, ValueError) as error:  # shapes do not match each other
        raise UserError(f"--init_from: {path}: its tensors form no network ({error})") from None


def _of_policy_file(path: Path) -> tuple[Parts, Facts]:
    file = policy_file.read(path)
    header = file.header
    shapes = [list(pair) for pair in zip(header.obs_dims, header.act_dims, strict=True)]
    net = Net.model_validate(file.config.net.model_dump())
    facts = Facts(file.config.env.tasks, shapes, header.frames, header.origin, net)
    return {"actor": file.tensors}, facts


def facts_of(state: Mapping[str, Any], path: Path) -> Facts:
    """The facts of a loaded checkpoint; earlier versions stored no shapes and no origin.

    Raises:
        CheckpointError: no run writes such data.
    """
    if not isinstance(state.get("config"), dict):
        return Facts()
    head = check_state(Head, state, path)
    tasks = head.config.env.tasks
    shapes = [head.shapes.get(task) for task in tasks]
    return Facts(tasks, shapes, head.total_frames, head.origin, head.config.net)


def _of_state(state: dict, path: Path) -> tuple[Parts, Facts]:
    facts, learner = facts_of(state, path), state.get("learner")
    if isinstance(learner, dict):  # a complete checkpoint
        state = learner
    networks = state.get("networks", state)
    if not isinstance(networks, dict) or not networks:
        raise CheckpointError(f"{path}: has no weights")
    check_names(networks, path)
    if any(name.startswith("actor.body.") for name in networks):
        parts: Parts = {}
        for name, value in networks.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest or name] = value
        if "log_alpha" not in networks or not networks["log_alpha"].isfinite().all():
            parts.pop("log_alpha", None)  # a temperature of 0 has no finite logarithm
        return parts, facts
    if any(name.startswith("body.") for name in networks):
        return {"actor": networks}, facts
    return {"actor": plain_actor(networks, path)}, facts._replace(net=Net())
