"""Twin delayed deep deterministic policy gradient for one or many tasks.

Fujimoto et al. 2018, "Addressing Function Approximation Error in Actor-Critic Methods"
(arXiv:1802.09477): DDPG with the minimum of two critics, smoothed target actions, and delayed
updates of the actor and all targets.
"""

from pydantic import Field

from torchrl_lite.algo.ddpg import DDPG, DDPGConfig
from torchrl_lite.config import Count, NetConfig, NonNegative


class TD3Config(DDPGConfig):
    """Twin delayed DDPG."""

    policy_delay: Count = Field(
        2, description="critic updates per update of the policy and the targets"
    )
    target_noise: NonNegative = Field(
        0.2, description="standard deviation of the noise that smooths target actions"
    )
    target_noise_clip: NonNegative = Field(0.5, description="clipping bound of that noise")


class TD3(DDPG):
    """Two critics and an actor, each with a target network."""

    config: TD3Config
    CRITICS = 2
    METRICS = ("q1_loss", "q2_loss", *DDPG.METRICS[1:])

    def build(self, net: NetConfig) -> None:
        super().build(net)
        self.target_actor.noise_std = self.config.target_noise
        self.target_actor.noise_clip = self.config.target_noise_clip

    def variant(self, step: int) -> str:
        delayed = (step + 1) % self.config.policy_delay != 0
        return "critic" if delayed else super().variant(step)
