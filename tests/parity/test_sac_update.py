"""SAC updates against a textbook."""

from typing import Any

import pytest
import torch
from helpers import random_batch
from textbook import ACT, GRID, ActorCritic, assert_close, assert_same_update, pair_of
from torch import Tensor
from torch.distributions import Normal
from torch.optim import Adam

from torchrl_lite.types import Batch, Noise


class Textbook(ActorCritic):
    """SAC as in Haarnoja et al. 2018; the temperature is learned by the gradient of log alpha."""

    def __init__(self, learner: Any) -> None:
        config = learner.config
        self.deterministic = config.policy == "deterministic"
        super().__init__(learner, critics=2, actor_outputs=ACT if self.deterministic else 2 * ACT)
        self.learned = config.alpha == "auto" and not self.deterministic
        alpha = (
            config.initial_alpha if self.learned else 0.0 if self.deterministic else config.alpha
        )
        self.log_alpha = torch.full((self.tasks,), alpha).log().double()
        if self.learned:
            self.opt["alpha"] = Adam([self.log_alpha.requires_grad_()], lr=3e-4, foreach=False)

    def sample(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        if self.deterministic:
            action = self.pi(x).tanh() + (0.1 * noise).clamp(-0.25, 0.25)
            return action.clamp(-1, 1), x.new_zeros(len(x))
        mean, log_std = self.pi(x).split(ACT, dim=1)
        std = log_std.clamp(-20, 2).exp()
        u = mean + std * noise
        log_prob = Normal(mean, std).log_prob(u) - (1 - u.tanh() ** 2).log()
        return u.tanh(), log_prob.sum(1)

    def update(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        self.count += 1
        obs, act, rew, next_obs, discount, rows = self.flat(batch)
        alpha = self.log_alpha.detach()[rows].exp()
        with torch.no_grad():
            next_act, next_logp = self.sample(next_obs, noise.act[0].flatten(0, 1))
            x = torch.cat((next_obs, next_act), 1)
            y = self.head.target([q(x) for q in self.q_targets], rew, discount, -alpha * next_logp)
        metrics = self.update_critics(obs, act, y) | {"alpha": alpha.mean()}
        if self.count % self.config.policy_delay == 0:
            new_act, logp = self.sample(obs, noise.act[1].flatten(0, 1))
            x = torch.cat((obs, new_act), 1)
            loss = (alpha * logp - self.head.combined([q(x) for q in self.qs])).mean()
            norm = self.descend(loss, "actor")
            metrics |= {"actor_loss": loss, "entropy": -logp.mean(), "actor_grad_norm": norm}
            if self.learned:
                wanted = self.config.target_entropy
                excess = -logp.detach() - (-ACT if wanted == "auto" else wanted)
                self.descend((self.log_alpha[rows] * excess).mean(), "alpha", clip=False)
        if self.count % self.config.target_update_interval == 0:
            self.follow(self.q_targets, self.qs)
        return metrics


CASES: dict[str, dict[str, Any]] = {
    "automatic temperature": {},
    "fixed temperature": {"alpha": 0.2},
    "no temperature": {"alpha": 0.0},
    "target entropy": {"target_entropy": -0.5},
    "scaled rewards": {"reward_scale": 5.0},
    "clipped gradients": {"grad_clip": 0.5},
    "gradients below the clip": {"grad_clip": 1e6},
    "two tasks": {"tasks": 2},
    "two tasks with a deterministic policy": {"tasks": 2, "policy": "deterministic"},
    "copied targets every third update": {"tasks": 2, "tau": 1.0, "target_update_interval": 3},
    "a policy every second update": {"tasks": 2, "policy_delay": 2},
    "a policy every third update": {"policy_delay": 3},
    "mean of two critics": {"critic": {"combine": "mean"}},
    "hl_gauss, mean of two critics": {"critic": {"kind": "hl_gauss", "combine": "mean", **GRID}},
    "two_hot": {"critic": {"kind": "two_hot", **GRID}},
    "c51": {"critic": {"kind": "c51", **GRID}},
    "c51, mean of two critics": {"tasks": 2, "critic": {"kind": "c51", "combine": "mean", **GRID}},
    "hl_gauss, two tasks with clipped gradients": {
        "tasks": 2,
        "grad_clip": 0.1,
        "critic": {"kind": "hl_gauss", "sigma": 1.5, **GRID},
    },
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_seven_updates_match_the_textbook(case: dict[str, Any]) -> None:
    learner, book = pair_of("sac", Textbook, **{"tau": 0.1} | case)
    for step in range(7):
        assert_same_update(learner, book, random_batch(learner.spec, seed=step), step=step)
        assert_close(learner.log_alpha, book.log_alpha, "log alpha")


@pytest.mark.parametrize("tasks", [[1, 0], [1]], ids=str)
def test_each_task_uses_its_own_temperature(tasks: list[int]) -> None:
    learner, book = pair_of("sac", Textbook, tasks=2)
    for log_alpha in (learner.log_alpha, book.log_alpha):
        log_alpha.data.copy_(torch.tensor([-3.0, 0.5], dtype=torch.float64))
    assert_same_update(learner, book, random_batch(learner.spec, tasks=tasks))
