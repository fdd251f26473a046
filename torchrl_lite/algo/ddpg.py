"""Deep deterministic policy gradient for one or many tasks, and the base class of TD3.

Lillicrap et al. 2015, "Continuous control with deep reinforcement learning" (arXiv:1509.02971),
with Gaussian exploration noise instead of an Ornstein-Uhlenbeck process, as in Fujimoto et al. 2018
and later work.
"""

from copy import deepcopy
from math import inf

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from torchrl_lite.algo.agent_config import AgentConfig
from torchrl_lite.algo.cloning import with_bc
from torchrl_lite.algo.learner import Learner
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.config import NetConfig, NonNegative
from torchrl_lite.network.actor import DeterministicPolicy
from torchrl_lite.network.build import build, build_critic
from torchrl_lite.types import Batch, Noise, Spec


class DDPGConfig(AgentConfig):
    """Deep deterministic policy gradient."""

    noise_std: NonNegative = Field(
        0.1, description="standard deviation of exploration noise, for actions in [-1, 1]"
    )

    def make_actor(self, net: NetConfig, spec: Spec) -> DeterministicPolicy:
        body = build(net, spec, role="actor", outputs=spec.act_dim)
        return DeterministicPolicy(body, spec, noise_std=self.noise_std, noise_clip=inf)


class DDPG(Learner):
    """A critic and a deterministic actor, each with a target network.

    A subclass may use more critics (`CRITICS`; the target is their minimum by default, the actor
    maximises the first), add noise to target actions, and delay actor updates.
    """

    config: DDPGConfig
    CRITICS = 1
    METRICS: tuple[str, ...] = ("q1_loss", "actor_loss", "q", "critic_grad_norm", "actor_grad_norm")

    def build(self, net: NetConfig) -> None:
        self.actor = self.config.make_actor(net, self.spec)
        self.critic = build_critic(net, self.spec, ensemble=self.CRITICS)
        self.target_actor = deepcopy(self.actor).requires_grad_(False)
        self.target_actor.noise_std = 0.0
        self.target = deepcopy(self.critic).requires_grad_(False)

    def variant(self, step: int) -> str:  # noqa: ARG002 - all are updated every time
        return "critic+policy+target"

    def update(self, batch: Batch, noise: Noise, variant: str) -> dict[str, Tensor]:
        """``variant`` lists what is updated: the critic alone, or also policy and targets."""
        task, config = batch.task, self.config
        metrics = self.update_critic(batch, noise.act[0])
        if "policy" in variant:
            new_act = self.actor.act(batch.obs, task)
            new_q = self.critic.value(self.critic(batch.obs, new_act, task))
            actor_losses = -new_q[0].mean(1)  # [T]
            actor_losses, imitation = with_bc(
                actor_losses, self.actor, batch, weight=config.bc_weight
            )
            norm = self.step("actor", actor_losses, task, max_norm=config.grad_clip)
            metrics |= imitation | {"actor_loss": actor_losses.detach(), "actor_grad_norm": norm}
            self.follow(self.target, self.critic, tau=config.tau, task=task)
            self.follow(self.target_actor, self.actor, tau=config.tau, task=task)
        return metrics

    def imitate(self, demos: ReplayBuffer, *, updates: int, batch_size: int) -> None:
        if self.imitations < updates:
            super().imitate(demos, updates=updates, batch_size=batch_size)
            self.target_actor.load_state_dict(self.actor.state_dict())

    @torch.no_grad()
    def td_target(self, batch: Batch, noise: Float[Tensor, "T B A"]) -> Float[Tensor, "T B M"]:
        """r + discount * Q'(s', mu'(s') + noise), with the target actor's noise and the target
        critics' combined value."""
        next_act = self.target_actor.explore(batch.next_obs, batch.task, noise)
        return self.critic.target(
            self.target(batch.next_obs, next_act, batch.task),
            rew=self.config.reward_scale * batch.rew,
            discount=batch.discount,
        )
