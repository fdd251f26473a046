"""Makes the actor of a stored policy; its tensors are checked before a network is allocated."""

from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from torchrl_lite.config import Config
from torchrl_lite.errors import CheckpointError
from torchrl_lite.network.actor import Actor, DeterministicPolicy, GaussianPolicy
from torchrl_lite.network.build import build
from torchrl_lite.types import Spec

Kind = Literal["gaussian", "deterministic"]


def kind_of(config: Config) -> Kind:
    """What the configuration trains; only SAC lets it choose."""
    chosen = getattr(config.agent, "policy", "deterministic")
    return "gaussian" if chosen == "gaussian" else "deterministic"


def _body(config: Config, spec: Spec) -> nn.Module:
    parts = 2 if kind_of(config) == "gaussian" else 1
    return build(config.net, spec, role="actor", outputs=parts * spec.act_dim, parts=parts)


def blank_actor(config: Config, spec: Spec) -> Actor:
    """An actor to load weights into, which explores as configured."""
    body, own = _body(config, spec), config.agent
    if kind_of(config) == "gaussian":
        return GaussianPolicy(body, spec, log_std_min=own.log_std_min, log_std_max=own.log_std_max)
    noise_clip = getattr(own, "noise_clip", inf)
    return DeterministicPolicy(body, spec, noise_std=own.noise_std, noise_clip=noise_clip)


def actor_of(tensors: Mapping[str, Tensor], config: Config, spec: Spec) -> Actor:
    """The actor with these weights, which `check_tensors` has passed."""
    actor = blank_actor(config, spec)
    actor.load_state_dict(tensors)
    return actor


def check_tensors(tensors: Mapping[str, Tensor], config: Config, spec: Spec, path: Path) -> None:
    """
    Raises:
        CheckpointError: they are not those of the configured actor, or not finite.
    """
    with torch.device("meta"):  # allocates nothing: the file decides how large the actor is
        body = _body(config, spec)
    expected = {f"body.{name}": tensor for name, tensor in body.state_dict().items()}
    for name in sorted(tensors.keys() ^ expected.keys()):
        has = "has" if name in tensors else "lacks"
        raise CheckpointError(f"{path}: {has} the tensor {name!r}, unlike its configuration")
    for name, tensor in tensors.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise CheckpointError(
                f"{path}: {name} is {tensor.dtype} {list(tensor.shape)}, its configuration "
                f"requires {wanted.dtype} {list(wanted.shape)}"
            )
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{path}: {name} is not finite")
