"""Demonstration files: episodes as safetensors, with their environments described in the header.

For each task there are tensors ``<task>/obs [n, O]``, ``act [n, A]``, ``rew [n]``,
``next_obs [n, O]``, ``cont [n]`` and ``first [n]``, float32, with all episodes in a row (the names
are those of a `Block`). The only metadata entry, ``demonstrations``, is a `DemoHeader` as JSON.
Reading executes no code.
"""

import hashlib
import json
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from torchrl_lite.checkpoint.files import write_atomically
from torchrl_lite.config import EnvConfig, Section, Seed, nearest, parse_json
from torchrl_lite.config.reading import read_bytes, reason, why_invalid
from torchrl_lite.errors import UserError, in_one_line
from torchrl_lite.policies.file import TaskEvaluation
from torchrl_lite.types import Block, Spec

MAX_BYTES = 2**34
_KEY = "demonstrations"
FREE = {
    *("name", "tasks", "imports", "num_envs", "group_size", "max_episode_frames", "num_goals"),
    *("fast", "reward_normalization", "noise_repeat", "noise_spread"),
}
"""Fields of ``env`` that a run and its demonstrations need not share. All others change what a
transition means, and so does the time limit, if observations have the share of it that is over."""


class DemoHeader(Section):
    """The metadata of a demonstration file."""

    format: Literal[1] = 1
    source: str = Field(description="what acted, such as metaworld.policies")
    env: EnvConfig = Field(description="where it acted")
    seed: Seed = Field(description="drew the goals")
    episodes: list[TaskEvaluation] = Field(min_length=1)
    versions: dict[str, str] = Field({}, description="of the packages that recorded it")


class Demonstrations(NamedTuple):
    """A file that was read or recorded: a `Block` of each task, without padding."""

    header: DemoHeader
    tensors: Mapping[str, Block]
    """By task, each with the dimensions ``[n, ...]``."""
    sha256: str = ""
    """Of the file; empty if it was not read from one."""

    def block(self, task: str, spec: Spec) -> Block:
        """The episodes of one task as if one environment had collected them, padded to ``spec``;
        every task of the block shows the same data."""
        own = self.tensors[task]
        sizes = {"obs": spec.obs_dim, "act": spec.act_dim, "next_obs": spec.obs_dim}
        padded = []
        for name, part in zip(Block._fields, own, strict=True):
            if name in sizes:
                part = torch.nn.functional.pad(part, (0, sizes[name] - part.shape[1]))
            padded.append(part[None, :, None].expand(spec.num_tasks, *part[:, None].shape))
        return Block(*padded)

    def transitions(self, task: str) -> int:
        return len(self.tensors[task].rew)

    def lines(self) -> list[str]:
        """What it holds, one line per task."""
        return [
            f"{one.task}: {len(one.returns)} episodes, {sum(one.lengths)} transitions, "
            f"success {sum(map(bool, one.successes)) / len(one.successes):.2f}, "
            f"return {sum(one.returns) / len(one.returns):.1f}"
            for one in self.header.episodes
        ]

    def check_fit(self, env: EnvConfig, spec: Spec, path: Path | str) -> Self:
        """
        Raises:
            UserError: they are not of this run's tasks, rewards or sizes.
        """
        shows_time = any(wrapper.arguments.get("normalize_time") for wrapper in env.wrappers)
        free = FREE - {"max_episode_frames"} if shows_time else FREE
        theirs, own_env = (one.model_dump(exclude=free) for one in (self.header.env, env))
        for key, there in theirs.items():
            here = own_env[key]
            if there != here:
                raise UserError(f"train.demos: {path} has env.{key} {there!r}, the run {here!r}")
        for task, (obs_dim, act_dim) in spec.shapes.items():
            if task not in self.tensors:
                raise UserError(
                    f"train.demos: {path} has no demonstrations of {task}; it has "
                    f"{', '.join(self.tensors)}{nearest(task, self.tensors)}"
                )
            own = self.tensors[task]
            if (own.obs.shape[1], own.act.shape[1]) != (obs_dim, act_dim):
                raise UserError(
                    f"train.demos: {path}: {task} has observations of {own.obs.shape[1]} and "
                    f"actions of {own.act.shape[1]} dimensions; the run's have {obs_dim} and "
                    f"{act_dim}"
                )
        return self


def write(path: Path, demos: Demonstrations) -> None:
    """Writes a file atomically; equal demonstrations give identical bytes."""
    tensors = {
        f"{task}/{name}": part.contiguous()
        for task, block in demos.tensors.items()
        for name, part in zip(Block._fields, block, strict=True)
    }
    content = save(tensors, metadata={_KEY: demos.header.model_dump_json()})
    write_atomically(path, lambda file: file.write(content))


def read(path: Path) -> Demonstrations:
    """Reads a file and checks that its tensors are what its header says.

    Raises:
        UserError: it is missing, damaged, or no demonstration file; the line names the file.
    """
    try:
        content = read_bytes(path, most=MAX_BYTES)
    except OSError as error:
        raise UserError(f"train.demos: {path}: cannot be read ({reason(error)})") from None
    try:
        tensors = load(content)
        header = _header(content)
        blocks = {one.task: _block(tensors, one, header.env) for one in header.episodes}
        if len(blocks) != len(header.episodes):
            raise ValueError("header: episodes: a task is named twice")
        if len(tensors) != len(blocks) * len(Block._fields):
            raise ValueError("it has tensors of tasks that its header does not name")
    except (SafetensorError, ValueError, LookupError, RecursionError) as error:
        why = in_one_line(error)
        raise UserError(f"train.demos: {path}: no demonstrations, or damaged ({why})") from None
    return Demonstrations(header, blocks, hashlib.sha256(content).hexdigest())


def _header(content: bytes) -> DemoHeader:
    """From the metadata of a valid safetensors file: eight bytes of length, then JSON."""
    end = 8 + int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8:end]).get("__metadata__") or {}
    if _KEY not in metadata:
        raise ValueError(f"its header has no {_KEY!r}")
    try:
        return DemoHeader.model_validate(parse_json(metadata[_KEY]))
    except ValidationError as error:
        raise ValueError(f"header: {why_invalid(error)}") from None


def _block(tensors: Mapping[str, Tensor], episodes: TaskEvaluation, env: EnvConfig) -> Block:
    task = episodes.task
    if task not in env.tasks:
        raise ValueError(f"{task} is not in the header's env.tasks")
    missing = [name for name in Block._fields if f"{task}/{name}" not in tensors]
    if missing:
        raise ValueError(f"it lacks {task}/{missing[0]}")
    block = Block(*(tensors[f"{task}/{name}"] for name in Block._fields))
    length, widths = sum(episodes.lengths), (block.obs.shape[1:], block.act.shape[1:])
    for name, part in zip(Block._fields, block, strict=True):
        width = {"obs": widths[0], "next_obs": widths[0], "act": widths[1]}.get(name, ())
        dims = 1 if name in ("rew", "cont", "first") else 2
        if part.dtype != torch.float32 or part.ndim != dims or part.shape != (length, *width):
            raise ValueError(f"{task}/{name} is {part.dtype} {list(part.shape)}")
        if not part.isfinite().all():
            raise ValueError(f"{task}/{name} is not finite")
    if (block.act.abs() > 1).any():
        raise ValueError(f"{task}/act leaves [-1, 1]")
    starts = list(accumulate(episodes.lengths, initial=0))[:-1]
    if block.first.nonzero()[:, 0].tolist() != starts:
        raise ValueError(f"{task}/first does not match the lengths of its episodes")
    return block
