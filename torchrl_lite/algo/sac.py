"""Soft actor-critic for one or many tasks.

Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications" (arXiv:1812.05905), with the
minimum of two Q functions, a learned, fixed or no temperature, and a stochastic or deterministic
policy. Each task has its own temperature.
"""

from collections.abc import Iterable
from copy import deepcopy
from typing import Literal, Self

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from torchrl_lite.algo.agent_config import AgentConfig
from torchrl_lite.algo.cloning import with_bc
from torchrl_lite.algo.learner import Learner
from torchrl_lite.config import Count, NetConfig, NonNegative, Positive
from torchrl_lite.network.actor import Actor, DeterministicPolicy, GaussianPolicy
from torchrl_lite.network.build import build, build_critic
from torchrl_lite.types import Batch, Noise, Spec


class SACConfig(AgentConfig):
    """Soft actor-critic."""

    plr: Positive = Field(3e-4, description="learning rate of the policy and the temperature")
    target_update_interval: Count = Field(1, description="updates per target update")
    policy_delay: Count = Field(
        1, description="critic updates per update of the policy and the temperature"
    )
    alpha: Literal["auto"] | NonNegative = Field(
        "auto", description='temperature: "auto" learns one per task, a number fixes it'
    )
    initial_alpha: Positive = Field(1.0, description="initial value of a learned temperature")
    target_entropy: Literal["auto"] | float = Field(
        "auto", description='"auto" is minus the number of action dimensions'
    )
    policy: Literal["gaussian", "deterministic"] = Field(
        "gaussian", description="deterministic: no entropy term, fixed exploration noise"
    )
    log_std_min: float = Field(-20.0, description="lower clamp of the policy's log std")
    log_std_max: float = Field(2.0, description="upper clamp of the policy's log std")
    noise_std: NonNegative = Field(
        0.1, description="standard deviation of the deterministic policy's noise"
    )
    noise_clip: NonNegative = Field(0.25, description="clipping bound of that noise")
    temperature_weights: bool = Field(
        False, description="weight task losses by softmax(-log temperature)"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.log_std_min > self.log_std_max:
            raise ValueError(
                f"log_std_min: {self.log_std_min} is above log_std_max, {self.log_std_max}"
            )
        if self.temperature_weights and (self.alpha != "auto" or self.policy != "gaussian"):
            raise ValueError(
                'temperature_weights: needs learned temperatures (alpha "auto", policy "gaussian")'
            )
        return self

    def make_actor(self, net: NetConfig, spec: Spec) -> Actor:
        if self.policy == "deterministic":
            body = build(net, spec, role="actor", outputs=spec.act_dim)
            return DeterministicPolicy(
                body, spec, noise_std=self.noise_std, noise_clip=self.noise_clip
            )
        body = build(net, spec, role="actor", outputs=2 * spec.act_dim, parts=2)
        return GaussianPolicy(
            body, spec, log_std_min=self.log_std_min, log_std_max=self.log_std_max
        )


class SAC(Learner):
    """Two critics, their targets, an actor and a temperature per task."""

    config: SACConfig
    target_entropy: Tensor
    task_parameters = ("log_alpha",)
    CRITICS = 2
    METRICS: tuple[str, ...] = (
        "q1_loss",
        "q2_loss",
        "actor_loss",
        "alpha",
        "entropy",
        "q",
        "critic_grad_norm",
        "actor_grad_norm",
    )

    def build(self, net: NetConfig) -> None:
        config, spec = self.config, self.spec
        self.actor = config.make_actor(net, spec)
        self.critic = build_critic(net, spec, ensemble=self.CRITICS)
        self.target = deepcopy(self.critic).requires_grad_(False)
        alpha = 0.0 if config.policy == "deterministic" else config.alpha
        self.learns_alpha = alpha == "auto"
        start = config.initial_alpha if self.learns_alpha else float(alpha)
        log_alpha = torch.full((spec.num_tasks,), start).log()  # log 0 = -inf, alpha = 0
        self.log_alpha = nn.Parameter(log_alpha, requires_grad=self.learns_alpha)
        target_entropy = (
            -spec.act_mask.sum(1)
            if config.target_entropy == "auto"
            else torch.full((spec.num_tasks,), config.target_entropy)
        )
        self.register_buffer("target_entropy", target_entropy, persistent=False)

    def trained(self) -> dict[str, tuple[Iterable[nn.Parameter], float]]:
        alpha = {"alpha": ([self.log_alpha], self.config.plr)} if self.learns_alpha else {}
        return super().trained() | alpha

    def variant(self, step: int) -> str:
        config, parts = self.config, ["critic"]
        if (step + 1) % config.policy_delay == 0:
            parts.append("policy")
        if (step + 1) % config.target_update_interval == 0:
            parts.append("target")
        return "+".join(parts)

    def update(self, batch: Batch, noise: Noise, variant: str) -> dict[str, Tensor]:
        """``variant`` lists what is updated: ``critic``, and possibly ``policy`` and ``target``."""
        task, config = batch.task, self.config
        weight, alpha = self.task_weight(task), self.temperature(task)
        metrics = {"alpha": alpha[:, 0]} | self.update_critic(batch, noise.act[0], weight=weight)
        if "policy" in variant:
            new_act, logp = self.actor.sample(batch.obs, task, noise.act[1])
            new_q = self.critic.combine(self.critic.value(self.critic(batch.obs, new_act, task)))
            actor_losses = (alpha * logp - new_q).mean(1)  # [T]
            actor_losses, imitation = with_bc(
                actor_losses, self.actor, batch, weight=config.bc_weight
            )
            norm = self.step("actor", weight * actor_losses, task, max_norm=config.grad_clip)
            entropy = -logp.detach().mean(1)  # [T]
            if self.learns_alpha:
                excess = entropy - self.target_entropy[task]
                self.step("alpha", self.log_alpha[task] * excess, task)
            metrics |= imitation | {
                "actor_loss": actor_losses.detach(),
                "entropy": entropy,
                "actor_grad_norm": norm,
            }
        if "target" in variant:
            self.follow(self.target, self.critic, tau=config.tau, task=task)
        return metrics

    @torch.no_grad()
    def td_target(self, batch: Batch, noise: Float[Tensor, "T B A"]) -> Float[Tensor, "T B M"]:
        """r + discount * (Q' - alpha log pi) at a newly sampled action, where Q' is the target
        critics' combined value; eq. 3 and 5."""
        next_act, next_logp = self.actor.sample(batch.next_obs, batch.task, noise)
        return self.critic.target(
            self.target(batch.next_obs, next_act, batch.task),
            rew=self.config.reward_scale * batch.rew,
            discount=batch.discount,
            bonus=-self.temperature(batch.task) * next_logp,
        )

    def temperature(self, task: Int[Tensor, " T"]) -> Float[Tensor, "T 1"]:
        return self.log_alpha.detach()[task].exp()[:, None]

    def task_weight(self, task: Int[Tensor, " T"]) -> Float[Tensor, " T"]:
        """Loss weights with mean 1: equal, or larger for tasks with a lower temperature.

        Yang et al. 2020, section 4.3, as in their code: deviation 6 in `network.soft_module`.
        """
        if not self.config.temperature_weights:
            return torch.ones_like(self.log_alpha[task].detach())
        return (-self.log_alpha.detach()[task]).softmax(0) * len(task)
