"""TD3 and DDPG against a textbook."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from helpers import random_batch
from textbook import ACT, GRID, ActorCritic, assert_same_update, pair_of
from torch import Tensor

from torchrl_lite.algo.td3 import TD3
from torchrl_lite.types import Batch, Noise


class Textbook(ActorCritic):
    """TD3 as in Fujimoto et al. 2018, algorithm 1; DDPG is the case of one critic, no smoothing and
    no delay."""

    def __init__(self, learner: Any) -> None:
        config, is_td3 = learner.config, isinstance(learner, TD3)
        super().__init__(learner, critics=2 if is_td3 else 1, actor_outputs=ACT)
        self.noise, self.bound, self.delay = 0.0, 0.0, 1
        if is_td3:
            self.noise, self.bound = config.target_noise, config.target_noise_clip
            self.delay = config.policy_delay
        self.pi_target = self.nets["target_actor"] = deepcopy(self.pi)

    def update(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        self.count += 1
        s, a, r, s2, discount, _ = self.flat(batch)
        with torch.no_grad():
            smoothing = (self.noise * noise.act[0].flatten(0, 1)).clamp(-self.bound, self.bound)
            a2 = (self.pi_target(s2).tanh() + smoothing).clamp(-1, 1)
            predicted = [q(torch.cat((s2, a2), 1)) for q in self.q_targets]
            y = self.head.target(predicted, r, discount, torch.zeros_like(r))
        metrics = self.update_critics(s, a, y)
        if self.count % self.delay == 0:
            predicted = self.qs[0](torch.cat((s, self.pi(s).tanh()), 1))
            loss = -self.head.value(predicted).mean()
            metrics |= {"actor_loss": loss, "actor_grad_norm": self.descend(loss, "actor")}
            self.follow(self.pi_target, self.pi)
            self.follow(self.q_targets, self.qs)
        return metrics


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "ddpg, three tasks": ("ddpg", {"tasks": 3}),
    "td3, delay 1": ("td3", {"policy_delay": 1}),
    "td3, delay 3": ("td3", {"policy_delay": 3}),
    "td3, wide noise": ("td3", {"target_noise": 2.0, "target_noise_clip": 0.7}),
    "td3, three tasks": ("td3", {"tasks": 3}),
    "td3, scaled rewards": ("td3", {"reward_scale": 3.0}),
    "td3, clipped gradients": ("td3", {"grad_clip": 1e-3}),
    "td3, mean of two critics": ("td3", {"critic": {"combine": "mean"}}),
    "td3, two_hot, mean": ("td3", {"critic": {"kind": "two_hot", "combine": "mean", **GRID}}),
    "td3, c51, two tasks": ("td3", {"tasks": 2, "critic": {"kind": "c51", **GRID}}),
    "ddpg, hl_gauss, two tasks": ("ddpg", {"tasks": 2, "critic": {"kind": "hl_gauss", **GRID}}),
}


@pytest.mark.parametrize(("algo", "case"), CASES.values(), ids=CASES.keys())
def test_seven_updates_match_the_textbook(algo: str, case: dict[str, Any]) -> None:
    learner, book = pair_of(algo, Textbook, tau=0.1, **case)
    for step in range(7):
        assert_same_update(learner, book, random_batch(learner.spec, seed=step), step=step)
