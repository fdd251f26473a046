"""What a file to start from holds: a checkpoint or a policy of ours, a plain file, or
Stable-Baselines3's. Nothing in a file is ever executed: tensors are read with ``weights_only``.
"""

import hashlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from torchrl_lite.checkpoint import files
from torchrl_lite.checkpoint.store import weights_of_run
from torchrl_lite.config import nearest
from torchrl_lite.config.reading import read_bytes, reason
from torchrl_lite.errors import CheckpointError, UserError
from torchrl_lite.policies import file as policy_file
from torchrl_lite.policies.head import MAX_BYTES, read_head
from torchrl_lite.policies.plain import check_names, linears, plain_actor
from torchrl_lite.policies.stable_baselines3 import read_sb3_policy

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

    A file is a checkpoint of ours, a policy file, a ``state_dict`` of an actor (ours, or linear
    layers in their order with ReLU between, the mean and the log standard deviation in one head
    or in two), or a zip that Stable-Baselines3 saved of SAC, TD3 or DDPG.

    Raises:
        UserError: there is no such file, or it is none of these.
    """
    if path.is_dir():
        weights = weights_of_run(path)
        if weights is None:
            raise UserError(f"--init_from: {path} is no run directory: it has no checkpoint")
        path = weights
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"--init_from: {path} is not there{nearest(path.name, beside)}")
    try:
        content = read_bytes(path, most=MAX_BYTES)
        digest = hashlib.sha256(content).hexdigest()
        if path.suffix == policy_file.SUFFIX:
            return Source(path, digest, *_of_policy_file(path))
        agent = read_sb3_policy(content, path)
        if agent is not None:
            return Source(path, digest, {"actor": agent.body}, Facts())
        state = files.load(path, BytesIO(content))
        return Source(path, digest, _of_state(state, path), facts_of(state, path))
    except CheckpointError as error:
        raise UserError(f"--init_from: {error}") from None
    except OSError as error:
        raise UserError(f"--init_from: {path}: cannot be read ({reason(error)})") from None
    except (RuntimeError, ValueError) as error:  # shapes that do not go together
        raise UserError(f"--init_from: {path}: its tensors are no networks ({error})") from None


def _of_policy_file(path: Path) -> tuple[Parts, Facts]:
    file = policy_file.read(path)
    header = file.header
    shapes = [list(pair) for pair in zip(header.obs_dims, header.act_dims, strict=True)]
    facts = Facts(file.config.env.tasks, shapes, header.frames, header.origin)
    return {"actor": file.tensors}, facts


def facts_of(state: Mapping[str, Any], path: Path) -> Facts:
    """Those of a loaded checkpoint; one of an earlier version tells no shapes and no origin.

    Raises:
        CheckpointError: they are not what a run writes.
    """
    if not isinstance(state.get("config"), dict):
        return Facts()
    head = read_head(state, path)
    tasks = head.config.env.tasks
    return Facts(tasks, [head.shapes.get(task) for task in tasks], head.total_frames, head.origin)


def _of_state(state: dict, path: Path) -> Parts:
    learner = state.get("learner")
    if isinstance(learner, dict):  # a complete checkpoint
        state = learner
    networks = state.get("networks", state)
    if not isinstance(networks, dict) or not networks:
        raise CheckpointError(f"{path}: holds no weights")
    check_names(networks, path)
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
    return {"actor": plain_actor(linears(networks), path)}
