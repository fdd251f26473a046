"""Demonstrations as datasets of Minari, https://minari.farama.org (extra ``[minari]``)."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from torchrl_lite.config.extras import import_extra
from torchrl_lite.demos.file import Demonstrations
from torchrl_lite.errors import UserError
from torchrl_lite.types import Block


def name_of(task: str) -> str:
    """The id of a task's dataset."""
    return f"metaworld/{task}/expert-v0"


def check_unused(tasks: Sequence[str]) -> None:
    """
    Raises:
        UserError: Minari is not installed, or has a dataset of this name.
    """
    minari = _minari()
    for task in tasks:
        if name_of(task) in minari.list_local_datasets():
            raise UserError(f"--format minari: {name_of(task)} exists; minari delete removes it")


def _minari() -> Any:
    return import_extra("minari", "minari", needed_by="--format minari")


def write(demos: Demonstrations) -> list[str]:
    """Creates one dataset for each task, where Minari keeps them; returns their ids."""
    minari = _minari()
    header = demos.header
    for task, block in demos.tensors.items():
        obs_dim, act_dim = block.obs.shape[1], block.act.shape[1]
        with warnings.catch_warnings():
            # It asks for an author, an address and a link to the code.
            warnings.filterwarnings("ignore", module=r"minari\.")
            minari.create_dataset_from_buffers(
                name_of(task),
                list(_episodes(block, minari.data_collector.EpisodeBuffer)),
                observation_space=Box(-np.inf, np.inf, (obs_dim,), np.float32),
                action_space=Box(-1.0, 1.0, (act_dim,), np.float32),
                algorithm_name=header.source,
                description=f"{task} of Meta-World; env: {header.env.model_dump_json()}",
                requirements=[
                    f"{name}=={version}"
                    for name, version in header.versions.items()
                    if name in ("metaworld", "mujoco")
                ],
            )
    return [name_of(task) for task in demos.tensors]


def _episodes(block: Block, buffer: type) -> Iterator[object]:
    """Each episode with its last observation; one that is not terminated is truncated."""
    arrays = [part.numpy() for part in block]
    cuts = np.flatnonzero(arrays[5])[1:]
    for number, parts in enumerate(zip(*(np.split(one, cuts) for one in arrays), strict=True)):
        obs, act, rew, next_obs, cont, _ = parts
        ends = np.arange(len(rew)) == len(rew) - 1
        yield buffer(
            id=number,
            observations=np.concatenate((obs, next_obs[-1:])),
            actions=act,
            rewards=rew,
            terminations=cont == 0,
            truncations=ends & (cont != 0),
        )
