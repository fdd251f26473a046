"""Base class of actors and critics: a body, and masks for padded tasks."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from torchrl_lite.network.normalizer import ObsNormalizer
from torchrl_lite.types import Spec


class Role(nn.Module):
    """A body, and masks for tasks smaller than the largest one."""

    obs_mask: Tensor
    act_mask: Tensor
    per_task_body: Callable[[Tensor, Tensor], Tensor] | None = None
    """If set, computes the body so that every task's gradient can be taken."""

    def __init__(self, body: nn.Module, spec: Spec) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("obs_mask", spec.obs_mask[:, None], persistent=False)
        self.register_buffer("act_mask", spec.act_mask[:, None], persistent=False)
        self._padded = len(set(zip(spec.obs_dims, spec.act_dims, strict=True))) > 1

    def outputs(
        self, x: Float[Tensor, "e T B I"], task: Int[Tensor, " T"]
    ) -> Float[Tensor, "E T B O"]:
        # An input that requires a gradient is an actor's action: the loss is the actor's.
        if self.per_task_body is None or x.requires_grad or not torch.is_grad_enabled():
            return self.body(x, task)
        return self.per_task_body(x, task)

    def __getstate__(self) -> dict[str, Any]:
        """Without ``per_task_body``: deep copies and pickles act, and are never trained."""
        return {name: value for name, value in self.__dict__.items() if name != "per_task_body"}

    @property
    def normalizer(self) -> ObsNormalizer | None:
        """Of observations, with ``net.normalize_obs``."""
        return getattr(self.body, "normalizer", None)

    def prepare_obs(
        self, obs: Float[Tensor, "T B O"], task: Int[Tensor, " T"]
    ) -> Float[Tensor, "T B O"]:
        """Observations as the body expects them: padding masked, normalised if configured."""
        masked = obs * self.obs_mask[task] if self._padded else obs
        return masked if self.normalizer is None else self.normalizer(masked, task)

    def mask_act(
        self, act: Float[Tensor, "T B A"], task: Int[Tensor, " T"]
    ) -> Float[Tensor, "T B A"]:
        return act * self.act_mask[task] if self._padded else act
