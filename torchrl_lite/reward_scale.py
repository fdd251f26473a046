"""Running reward scale per task, for rewards whose size differs wildly between tasks."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from torchrl_lite.types import Block


class RewardScale:
    """Exponential moving standard deviation, as in garage's ``NormalizedEnv``.

    ``mean <- (1 - a) mean + a r``, ``var <- (1 - a) var + a (r - mean)^2``, then
    ``r / (sqrt(var) + 1e-8)``: scaled, never centred. Unlike garage, rewards are stored raw and
    scaled when they are sampled, so that old transitions carry today's scale.
    """

    RATE = 1e-3

    def __init__(self, num_tasks: int) -> None:
        self.mean = np.zeros(num_tasks)
        self.var = np.ones(num_tasks)

    def update(self, block: Block, tasks: list[int]) -> Float[Tensor, " T"]:
        """Takes in these tasks' rewards in the order they came; returns every task's factor."""
        rewards = block.rew.flatten(1, 2).double().numpy()[tasks]
        mean, var = self.mean[tasks], self.var[tasks]
        for rew in rewards.T:
            mean += self.RATE * (rew - mean)
            var += self.RATE * (np.square(rew - mean) - var)
        self.mean[tasks], self.var[tasks] = mean, var
        return torch.from_numpy(1 / (np.sqrt(self.var) + 1e-8)).float()

    def state_dict(self) -> dict[str, Tensor]:
        return {"mean": torch.tensor(self.mean), "var": torch.tensor(self.var)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.mean, self.var = state["mean"].numpy().copy(), state["var"].numpy().copy()
