"""A trained policy: from observations to actions, in numpy."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy import ndarray

from torchrl_lite.config import Config, nearest
from torchrl_lite.errors import UserError
from torchrl_lite.network.actor import Actor
from torchrl_lite.types import Spec


@dataclass(frozen=True)
class Policy:
    """An actor on the CPU and what it was trained for."""

    actor: Actor
    config: Config
    spec: Spec
    """Names and sizes of its tasks."""
    frames: int
    """Transitions that it was trained on."""
    seed: int = 1
    """Training seed, which drew the goals; 1 if unknown."""
    versions: dict[str, str] = field(default_factory=dict)
    """Package versions of its training; empty if unknown."""
    origin: Sequence[dict[str, Any]] = ()
    """What its training started from, most recent first."""

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.spec.tasks

    @property
    def obs_dims(self) -> tuple[int, ...]:
        """Size of each task's observation, in the order of `tasks`."""
        return self.spec.obs_dims

    @property
    def act_dims(self) -> tuple[int, ...]:
        """Size of each task's action."""
        return self.spec.act_dims

    @torch.autocast("cpu", enabled=False)
    @torch.inference_mode()
    def __call__(
        self,
        obs: Float[ndarray, "*B O"],
        task: str | int | None = None,
        *,
        deterministic: bool = True,
        rng: int | np.random.Generator | None = None,
    ) -> Float32[ndarray, "*B A"]:
        """Actions in [-1, 1] for one observation ``[O]`` or a batch ``[B, O]`` of one task.

        ``task``: its name or its index in `tasks`; may be left out if there is only one.
        ``deterministic=False`` adds the exploration noise of the training, drawn from ``rng``, a
        generator or a seed.

        The actions equal those of an evaluation up to rounding, which depends on the batch size.

        Raises:
            UserError: unknown task, or an observation of another size.
        """
        index = self.index(task)
        rows = self._rows(obs, index)
        number = torch.tensor([index], device="cpu")
        if deterministic:
            act = self.actor.act(rows, number)
        else:
            shape = (*rows.shape[:2], self.spec.act_dim)
            noise = np.random.default_rng(rng).standard_normal(shape, np.float32)
            act = self.actor.explore(rows, number, torch.from_numpy(noise))
        own = act[0, :, : self.act_dims[index]].numpy()
        return own[0] if np.ndim(obs) == 1 else own

    def index(self, task: str | int | None = None) -> int:
        """The index of a task in `tasks`.

        Raises:
            UserError: it is not one of them, or is left out although there are several.
        """
        known = ", ".join(self.tasks)
        if task is None:
            if len(self.tasks) > 1:
                raise UserError(f"task: name one of this policy's tasks: {known}")
            return 0
        if isinstance(task, str) and task in self.tasks:
            return self.tasks.index(task)
        if not isinstance(task, str) and 0 <= task < len(self.tasks):
            return task
        hint = nearest(task, self.tasks) if isinstance(task, str) else ""
        raise UserError(f"task: this policy was not trained on {task!r}; it has {known}{hint}")

    def _rows(self, obs: Float[ndarray, "*B o"], index: int) -> Float[torch.Tensor, "1 n O"]:
        """The observations as the actor takes them, padded with zeros to the largest task."""
        given, size = np.asarray(obs, np.float32), self.obs_dims[index]
        if given.ndim not in (1, 2) or given.shape[-1] != size:
            raise UserError(
                f"obs: has shape {list(given.shape)}; {self.tasks[index]} has observations of "
                f"shape [{size}], or [B, {size}] for a batch"
            )
        batch = given.reshape(-1, size)
        rows = torch.zeros(1, len(batch), self.spec.obs_dim, dtype=torch.float32, device="cpu")
        rows[0, :, :size] = torch.from_numpy(batch)
        return rows
