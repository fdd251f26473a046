"""Policy files: an actor as safetensors, with everything needed to play it in the header.

The format is https://github.com/huggingface/safetensors: a JSON header, then raw tensors. The only
metadata entry, ``policy``, is a `PolicyHeader` as JSON. Reading executes no code and imports no
package named in a file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.checkpoint.files import write_atomically
from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.config import Config, Section, Seed, check, parse_json
from torchrl_lite.config.reading import why_invalid
from torchrl_lite.errors import CheckpointError
from torchrl_lite.network.actor import Actor
from torchrl_lite.policies.actor import actor_of, check_tensors, unallocated_actor
from torchrl_lite.policies.policy import Policy
from torchrl_lite.types import Spec

SUFFIX = ".safetensors"
MAX_HEADER = 2**24
"""Maximum characters of the metadata; 50 episodes of one task take about six thousand."""
_KEY = "policy"

_Size = Annotated[int, Field(ge=1, le=2**31)]


class TaskEvaluation(Section):
    """Deterministic episodes of one task, evenly spread over the goals."""

    task: str
    returns: list[float] = Field(min_length=1)
    lengths: list[int]
    successes: list[bool | None]
    """None in all episodes if none reported success."""

    @classmethod
    def of(cls, task: str, episodes: Sequence[EpisodeStats]) -> Self:
        silent = all(stats.success is None for stats in episodes)
        return cls(
            task=task,
            returns=[stats.ret for stats in episodes],
            lengths=[stats.length for stats in episodes],
            successes=[None if silent else bool(stats.success) for stats in episodes],
        )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not len(self.returns) == len(self.lengths) == len(self.successes):
            raise ValueError(f"{self.task}: returns, lengths and successes differ in length")
        return self


class PolicyHeader(Section):
    """The metadata of a policy file."""

    format: Literal[1] = 1
    kind: str = Field(description="of the actor: gaussian, deterministic")
    obs_dims: list[_Size] = Field(description="size of each task's observation")
    act_dims: list[_Size] = Field(description="size of its action, always scaled to [-1, 1]")
    frames: int = Field(ge=0, le=2**63 - 1, description="transitions it was trained on")
    seed: Seed = Field(description="training seed, which drew the goals")
    versions: dict[str, str]
    evaluation: list[TaskEvaluation]
    held_out: list[TaskEvaluation] = Field([], description="the same on goals never trained on")
    config: dict[str, Any] = Field(description="full training configuration")
    origin: list[dict[str, Any]] = Field([], description="what it started from, most recent first")


class PolicyFile(NamedTuple):
    """A file that was read and verified: ``tensors`` are those of the configured actor."""

    header: PolicyHeader
    config: Config
    tensors: dict[str, Tensor]

    @property
    def spec(self) -> Spec:
        tasks, header = self.config.env.tasks, self.header
        return Spec(tuple(tasks), tuple(header.obs_dims), tuple(header.act_dims))

    def actor(self) -> Actor:
        return actor_of(self.tensors, self.config, self.spec)


def write(
    path: Path,
    policy: Policy,
    evaluation: Sequence[TaskEvaluation],
    *,
    held_out: Sequence[TaskEvaluation] = (),
) -> PolicyHeader:
    """Writes a policy atomically; equal arguments give identical bytes."""
    header = PolicyHeader(
        kind=policy.actor.KIND,
        obs_dims=list(policy.obs_dims),
        act_dims=list(policy.act_dims),
        frames=policy.frames,
        seed=policy.seed,
        versions=policy.versions,
        evaluation=list(evaluation),
        held_out=list(held_out),
        config=parse_json(policy.config.model_dump_json()),  # as `read` will parse it
        origin=list(policy.origin),
    )
    tensors = {
        name: tensor.cpu().contiguous() for name, tensor in policy.actor.state_dict().items()
    }
    content = save(tensors, metadata={_KEY: header.model_dump_json()})
    write_atomically(path, lambda file: file.write(content))
    return header


def read(path: Path) -> PolicyFile:
    """Reads a policy; checks every shape before allocating a network.

    Raises:
        UserError: its configuration is invalid.
        CheckpointError: the file is damaged, is not a policy, or its tensors do not match its
            configuration.
        OSError: it cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY, "")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged, or not safetensors ({error})") from None
    if not text:
        raise CheckpointError(f"{path}: its header describes no policy of torchrl_lite")
    header = _header(text, path)
    config = check(
        header.config, algo=header.config.get("algo"), sections=SECTIONS, source=str(path)
    )
    _check_header(header, config, path)
    file = PolicyFile(header, config, tensors)
    kind = unallocated_actor(config, file.spec).KIND
    if header.kind != kind:
        raise CheckpointError(f"{path}: header: kind: must be {kind!r}, as in its configuration")
    check_tensors(tensors, config, file.spec, path)
    return file


def _header(text: str, path: Path) -> PolicyHeader:
    if len(text) > MAX_HEADER:
        raise CheckpointError(f"{path}: header: longer than {MAX_HEADER} characters")
    try:
        return PolicyHeader.model_validate(parse_json(text))
    except ValidationError as error:
        raise CheckpointError(f"{path}: header: {why_invalid(error)}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: header: not valid JSON ({error})") from None


def _check_header(header: PolicyHeader, config: Config, path: Path) -> None:
    tasks = config.env.tasks
    if not len(header.obs_dims) == len(header.act_dims) == len(tasks):
        raise CheckpointError(
            f"{path}: header: obs_dims and act_dims must have {len(tasks)} sizes, one per task"
        )
    for one in (*header.evaluation, *header.held_out):
        if one.task not in tasks:
            raise CheckpointError(f"{path}: header: evaluation: {one.task!r} is not in env.tasks")
