"""Terminal states cut the bootstrap and time limits do not, on an MDP solved by hand.

Two states, one action dimension, gamma = 0.5. In A, action a earns a and leads to B; in B it earns
2 - a and leads to A. The best actions are +1 and -1, worth 1 and 3.

- The second step ends the episode: V(B) = 3, V(A) = 1 + 3/2 = 5/2.
- The second step only reaches the time limit: V(A) = 1 + V(B)/2 and V(B) = 3 + V(A)/2,
  so V(A) = 10/3 and V(B) = 14/3.
"""

from typing import NamedTuple

import pytest
import torch
from helpers import CPU, make_sac, make_spec
from torch import Tensor

from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.types import Batch, Block

GAMMA = 0.5
SPEC = make_spec(obs_dim=2, act_dim=1)
A, B = torch.eye(2, dtype=torch.float64)


class Solution(NamedTuple):
    """The values of the states under the best policy, and ``cont`` of B's transitions."""

    value_a: float
    value_b: float
    cont_b: float

    def q(self, state: Tensor, act: Tensor) -> Tensor:
        """Q* of state A or B, written out from the rewards and the value of the successor."""
        in_a = act + GAMMA * self.value_b
        in_b = 2 - act + GAMMA * self.cont_b * self.value_a
        return torch.where(state[..., 0] == 1, in_a, in_b)


TERMINATED = Solution(value_a=5 / 2, value_b=3.0, cont_b=0.0)
TRUNCATED = Solution(value_a=10 / 3, value_b=14 / 3, cont_b=1.0)


def batch(solution: Solution) -> Batch:
    """Eleven actions in each state."""
    act = torch.linspace(-1, 1, 11, dtype=torch.float64).repeat(2)
    in_a = torch.arange(22) < 11
    obs = torch.where(in_a[:, None], A, B)
    return Batch(
        obs=obs[None],
        act=act[None, :, None],
        rew=torch.where(in_a, act, 2 - act)[None],
        next_obs=torch.where(in_a[:, None], B, A)[None],
        discount=GAMMA * torch.where(in_a, 1.0, solution.cont_b).double()[None],
        task=torch.zeros(1, dtype=torch.int64),
    )


@pytest.mark.parametrize("solution", [TERMINATED, TRUNCATED], ids=["terminated", "truncated"])
def test_learning_from_stored_transitions_finds_the_optimal_values(solution: Solution) -> None:
    learner = make_sac(
        SPEC, hidden=[64], plr=1e-2, qlr=1e-2, tau=0.1, discount=GAMMA,
        policy="deterministic", noise_std=0.0,
    )  # fmt: skip
    buffer = ReplayBuffer(SPEC, 1000, CPU)
    data = batch(solution)
    fields = {name: getattr(data, name).float()[:, :, None] for name in Block._fields[:4]}
    cont = (data.discount / GAMMA).float()[:, :, None]
    buffer.add_block(Block(**fields, cont=cont, first=torch.ones_like(cont)), [0])
    learner.run(buffer, [0], opt_steps=200, batch_size=64)
    for optimizer in learner.optimizers.values():  # let Adam converge
        optimizer.param_groups[0]["lr"] = 1e-3
    learner.run(buffer, [0], opt_steps=50, batch_size=64)
    expected = solution.q(data.obs, data.act[..., 0]).float()
    q = learner.critic.value(learner.critic(data.obs.float(), data.act.float(), data.task))
    torch.testing.assert_close(q, expected.expand(2, -1, -1), rtol=0, atol=0.04)
    best = learner.actor.act(torch.stack((A, B)).float()[None], data.task)
    torch.testing.assert_close(best[0, :, 0], torch.tensor([1.0, -1.0]), rtol=0, atol=0.01)
