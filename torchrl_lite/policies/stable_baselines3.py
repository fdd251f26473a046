"""Reads agents saved by Stable-Baselines3.

``policy.pth`` has the tensors. ``data`` is JSON that contains pickles as text. They are never
loaded: the activation, which we need, is also in plain text. Nothing is unpacked to disk.
"""

import json
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from torchrl_lite.checkpoint import files
from torchrl_lite.errors import CheckpointError
from torchrl_lite.policies.plain import (
    Linear,
    body_of,
    check_chain,
    check_names,
    linears,
)

_MEMBERS = ("data", "policy.pth")
_RELU = ("<class 'torch.nn.modules.activation.ReLU'>", "torch.nn.modules.activation.ReLU")
"""Not part of another name, such as that of ``LeakyReLU`` or ``ReLU6``."""


def _members(content: bytes, path: Path) -> dict[str, bytes] | None:
    """The members that we read; None if it is not a Stable-Baselines3 zip."""
    try:
        if not zipfile.is_zipfile(BytesIO(content)):
            return None
        with zipfile.ZipFile(BytesIO(content)) as archive:
            names = archive.namelist()
            if "policy.pth" not in names:
                return None  # torch's own files are zips too
            files.check_archive(BytesIO(content))
            return {name: archive.read(name) for name in names if name in _MEMBERS}
    except Exception as error:  # a damaged zip raises many types
        raise CheckpointError(f"{path}: damaged zip ({error})") from None


def _check_activation(data: bytes, path: Path) -> None:
    try:
        kwargs = json.loads(data).get("policy_kwargs") or {}
        activation = str(kwargs.get("activation_fn", _RELU[0]))
    except (ValueError, AttributeError, RecursionError):
        raise CheckpointError(f"{path}: its data is not from Stable-Baselines3") from None
    if activation not in _RELU:
        raise CheckpointError(f"{path}: its networks use {activation!r}; only ReLU is supported")


class Sb3Policy(NamedTuple):
    """An agent's actor, in our names and layout."""

    algo: str
    body: dict[str, Tensor]
    hidden_shapes: list[int]
    obs_dim: int
    act_dim: int
    frames: int

    @property
    def is_gaussian(self) -> bool:
        return self.algo == "sac"


def read_sb3_policy(content: bytes, path: Path) -> Sb3Policy | None:
    """The actor in a Stable-Baselines3 zip of SAC, TD3 or DDPG; None for other files.

    Like ours, its deterministic action is tanh(mean), scaled to the environment's bounds. The zip
    does not contain the statistics of a ``VecNormalize``.

    Raises:
        CheckpointError: it is damaged, or its actor is not a plain network with ReLU.
    """
    members = _members(content, path)
    if members is None:
        return None
    _check_activation(members.get("data", b""), path)
    tensors = files.load(path, BytesIO(members["policy.pth"]))
    check_names(tensors, path)
    log_std = [*linears(tensors, "actor.log_std.").values()]
    trunk, heads = (linears(tensors, f"actor.{part}.").values() for part in ("latent_pi", "mu"))
    layers = [*trunk, *heads]
    _check_chain(layers, log_std, tensors, path)
    if log_std:
        both = (torch.cat(parts) for parts in zip(layers[-1], log_std[0], strict=True))
        layers = [*layers[:-1], Linear(*both)]
    critics = {name.split(".")[1] for name in tensors if name.startswith("critic.qf")}
    frames = json.loads(members["data"]).get("num_timesteps")
    return Sb3Policy(
        algo="sac" if log_std else "td3" if len(critics) > 1 else "ddpg",
        body=body_of(layers),
        hidden_shapes=[len(layer.weight) for layer in layers[:-1]],
        obs_dim=layers[0].weight.shape[1],
        act_dim=len(layers[-1].weight) // (2 if log_std else 1),
        frames=frames if isinstance(frames, int) else 0,
    )


def _check_chain(
    layers: list[Linear], log_std: list[Linear], tensors: Mapping[str, Tensor], path: Path
) -> None:
    """Checks that the actor consists of exactly these layers, in sequence."""
    own = [name for name in tensors if name.startswith("actor.")]
    if len(layers) < 2 or len(log_std) > 1 or len(own) != 2 * (len(layers) + len(log_std)):
        raise CheckpointError(
            f"{path}: its actor is not a plain network of SAC, TD3 or DDPG (feature extractors, "
            "gSDE and networks without hidden layers are not supported)"
        )
    check_chain(layers, path)
    if log_std and [part.shape for part in log_std[0]] != [part.shape for part in layers[-1]]:
        raise CheckpointError(f"{path}: the layers of its actor do not fit each other")
    if any(part.dtype != torch.float32 for layer in (*layers, *log_std) for part in layer):
        raise CheckpointError(f"{path}: the layers of its actor are not float32")
