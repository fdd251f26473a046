"""Running normalisation of observations, per task."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn


class ObsNormalizer(nn.Module):
    """Subtracts a task's running mean and divides by its running standard deviation.

    Population statistics of all collected observations, in float64, merged epoch by epoch (Chan,
    Golub & LeVeque 1979). Results are clipped to +-10, as in Stable-Baselines3: an entry
    that never changed in training may do so later. The identity for a task without observations.
    """

    EPSILON = 1e-8
    CLIP = 10.0
    task_buffers = ("count", "mean", "var")
    """Tasks are their second dimension, as for per-task parameters."""
    count: Float[Tensor, "1 T 1"]
    mean: Float[Tensor, "1 T O"]
    var: Float[Tensor, "1 T O"]

    def __init__(self, num_tasks: int, obs_dim: int) -> None:
        super().__init__()
        shape = (1, num_tasks, obs_dim)
        self.register_buffer("count", torch.zeros(1, num_tasks, 1, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("var", torch.ones(shape, dtype=torch.float64))

    def forward(
        self, obs: Float[Tensor, "T B O"], task: Int[Tensor, " T"]
    ) -> Float[Tensor, "T B O"]:
        mean, scale = self.mean[0, task, None], (self.var[0, task, None] + self.EPSILON).rsqrt()
        return ((obs - mean.to(obs.dtype)) * scale.to(obs.dtype)).clamp(-self.CLIP, self.CLIP)

    @torch.no_grad()
    def update(self, obs: Float[Tensor, "T L K O"], tasks: Sequence[int]) -> None:
        """Add the observations of these tasks; the others' statistics stay as they are."""
        for task in tasks:
            new = (
                obs[task].flatten(0, 1).double().numpy()
            )  # unlike torch, the same on any number of threads
            parts = self.count[0, task], self.mean[0, task], self.var[0, task]
            count, mean, var = (part.cpu().numpy() for part in parts)
            merged = _merged(count, mean, var, new=new)
            for part, value in zip(parts, merged, strict=True):
                part.copy_(torch.from_numpy(value))

    def share(self, module: nn.Module) -> None:
        """Copy these statistics to all other normalisers in ``module``."""
        for other in module.modules():
            if isinstance(other, ObsNormalizer) and other is not self:
                other.load_state_dict(self.state_dict())


def _merged(
    count: Float[ndarray, " 1"],
    mean: Float[ndarray, " O"],
    var: Float[ndarray, " O"],
    *,
    new: Float[ndarray, "n O"],
) -> tuple[Float[ndarray, " 1"], Float[ndarray, " O"], Float[ndarray, " O"]]:
    """Count, mean and variance of the old observations and the new ones."""
    total = count + len(new)
    delta = new.mean(0) - mean
    squares = count * var + len(new) * new.var(0) + delta**2 * (count * len(new) / total)
    return total, mean + delta * (len(new) / total), squares / total
