"""Makes the actor of a stored policy; its tensors are checked before a network is allocated."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from torchrl_lite.config import Config
from torchrl_lite.errors import CheckpointError
from torchrl_lite.network.actor import Actor
from torchrl_lite.types import Spec


def unallocated_actor(config: Config, spec: Spec) -> Actor:
    """The configured actor without memory for its tensors: a file may ask for any size."""
    with torch.device("meta"):
        return config.agent.make_actor(config.net, spec)


def actor_of(tensors: Mapping[str, Tensor], config: Config, spec: Spec) -> Actor:
    """The actor with these weights, which `check_tensors` has passed; it explores as configured."""
    actor = config.agent.make_actor(config.net, spec)
    actor.load_state_dict(tensors)
    return actor


def check_tensors(tensors: Mapping[str, Tensor], config: Config, spec: Spec, path: Path) -> None:
    """
    Raises:
        CheckpointError: they are not those of the configured actor, or not finite.
    """
    expected = unallocated_actor(config, spec).state_dict()
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
