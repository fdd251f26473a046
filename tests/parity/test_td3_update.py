"""TD3 and DDPG against a textbook: plain layers, one Adam per network, a one-hot input."""

from copy import deepcopy
from math import inf
from typing import Any

import pytest
import torch
from helpers import make_learner, make_spec, random_batch, random_noise
from textbook_critics import ACT, HIDDEN, OBS, Bins, Scalar, in_textbook_layout, mlp, shift_biases
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam

from torchrl_lite.algo.ddpg import DDPG
from torchrl_lite.types import Batch, Noise

TAU = 0.1


class Textbook:
    """TD3 as in Fujimoto et al. 2018, algorithm 1, on a flat batch; DDPG is the case of one critic,
    no smoothing and no delay. It shares one convention with the project: the critics' loss is the
    mean over them.
    """

    def __init__(
        self,
        tasks: int,
        critics: int,
        *,
        noise: float,
        bound: float,
        delay: int,
        clip: float | None,
        head: Scalar,
    ) -> None:
        self.tasks, self.noise, self.bound, self.delay, self.count = tasks, noise, bound, delay, 0
        self.clip, self.head = inf if clip is None else clip, head
        inputs = OBS + (tasks if tasks > 1 else 0)
        self.pi = mlp(inputs, ACT, tasks == 1)
        self.qs = nn.ModuleList(mlp(inputs + ACT, head.outputs, tasks == 1) for _ in range(critics))

    def start(self) -> None:
        self.pi_target, self.q_targets = deepcopy(self.pi), deepcopy(self.qs)
        self.pi_opt, self.q_opt = (
            Adam(net.parameters(), lr=3e-4, foreach=False) for net in (self.pi, self.qs)
        )

    def update(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        self.count += 1
        rows = batch.task.repeat_interleave(batch.rew.shape[1])
        s, a, r, s2, discount = (field.flatten(0, 1) for field in batch[:5])
        if self.tasks > 1:
            hot = one_hot(rows, self.tasks).double()
            s, s2 = torch.cat((s, hot), 1), torch.cat((s2, hot), 1)
        with torch.no_grad():
            smoothing = (self.noise * noise.act[0].flatten(0, 1)).clamp(-self.bound, self.bound)
            a2 = (self.pi_target(s2).tanh() + smoothing).clamp(-1, 1)
            predicted = [q(torch.cat((s2, a2), 1)) for q in self.q_targets]
            y = self.head.target(predicted, r, discount, torch.zeros_like(r))
        losses = [self.head.loss(q(torch.cat((s, a), 1)), y) for q in self.qs]
        self.q_opt.zero_grad()
        (sum(losses) / len(losses)).backward()
        clip_grad_norm_(self.qs.parameters(), self.clip)
        self.q_opt.step()
        metrics = {f"q{index + 1}_loss": loss.detach() for index, loss in enumerate(losses)}
        if self.count % self.delay == 0:
            predicted = self.qs[0](torch.cat((s, self.pi(s).tanh()), 1))
            metrics["actor_loss"] = -self.head.value(predicted).mean()
            self.pi_opt.zero_grad()
            metrics["actor_loss"].backward()
            clip_grad_norm_(self.pi.parameters(), self.clip)
            self.pi_opt.step()
            for net, target in ((self.pi, self.pi_target), (self.qs, self.q_targets)):
                for p, t in zip(net.parameters(), target.parameters(), strict=True):
                    t.data = (1 - TAU) * t.data + TAU * p.data
        return metrics


def make_pair(
    algo: str, tasks: int = 1, critic: dict[str, Any] | None = None, **config: Any
) -> tuple[DDPG, Textbook]:
    """Our learner and a textbook with its weights."""
    spec = make_spec(tasks, obs_dim=OBS, act_dim=ACT)
    net = {"hidden_shapes": list(HIDDEN), "critic": critic or {}}
    learner = make_learner(algo, spec, net=net, dtype=torch.float64, tau=TAU, **config)
    head = Bins(**critic) if critic and "kind" in critic else Scalar(**critic or {})
    shift_biases(learner.actor, learner.critic)
    learner.target.load_state_dict(learner.critic.state_dict())
    learner.target_actor.load_state_dict(learner.actor.state_dict())
    own = learner.config
    if algo == "ddpg":
        book = Textbook(tasks, 1, noise=0.0, bound=0.0, delay=1, clip=own.grad_clip, head=head)
    else:
        book = Textbook(
            tasks, 2, noise=own.target_noise, bound=own.target_noise_clip,
            delay=own.policy_delay, clip=own.grad_clip, head=head,
        )  # fmt: skip
    for net, values in pairs(learner, book):
        for p, value in zip(net.parameters(), values, strict=True):
            p.data.copy_(value)
    book.start()
    return learner, book


def pairs(learner: DDPG, book: Textbook) -> list[tuple[nn.Module, list[Tensor]]]:
    """The textbook's networks, including existing targets, each with our values for it."""

    def values(module: nn.Module) -> list[Tensor]:
        own, tasks = list(module.parameters()), learner.spec.num_tasks
        members = range(len(own[0]))
        return [value for member in members for value in in_textbook_layout(own, member, tasks)]

    networks = [(book.pi, learner.actor), (book.qs, learner.critic)]
    if hasattr(book, "pi_target"):
        networks += [(book.pi_target, learner.target_actor), (book.q_targets, learner.target)]
    return [(net, values(module)) for net, module in networks]


def assert_agree(learner: DDPG, book: Textbook) -> None:
    for net, values in pairs(learner, book):
        for mine, theirs in zip(values, net.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs.detach(), rtol=0, atol=1e-10)


GRID = {"bins": 33, "bound": 16.0}  # a batch's rewards are about 10
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
    learner, book = make_pair(algo, **case)
    for step in range(7):
        batch = random_batch(learner.spec, seed=step)
        noise = random_noise(batch, seed=step)
        ours = learner.update(batch, noise, learner.variant(step))
        scaled = learner.config.reward_scale * batch.rew
        theirs = book.update(batch._replace(rew=scaled), noise)
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name].mean(), value.detach(), rtol=0, atol=1e-10)
        assert ("actor_loss" in ours) == ("actor_loss" in theirs)
        assert_agree(learner, book)
