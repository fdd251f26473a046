"""SAC updates against a textbook: plain layers, two critics, one Adam each, a one-hot input."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import pytest
import torch
from helpers import FULL, make_sac, make_spec, random_batch, random_noise
from textbook_critics import ACT, HIDDEN, OBS, Bins, Scalar, in_textbook_layout, mlp, shift_biases
from torch import Tensor
from torch.distributions import Normal
from torch.nn.functional import one_hot
from torch.optim import Adam

from torchrl_lite.algo.sac import SAC
from torchrl_lite.types import Batch, Noise

CLOSE = {"rtol": 0, "atol": 1e-9}
Grads = dict[str, list[Tensor]]


class Textbook:
    """SAC as in Haarnoja et al. 2018, on a flat batch whose observations end in a one-hot.

    It shares no code with the project, only two conventions: the critics' loss is the mean over
    both of them (so the gradient of each is half of what a sum would give), and the temperature
    is learned by the gradient of log alpha. With several tasks the first layers have no bias of
    their own, because the columns of the one-hot already act as one.
    """

    def __init__(
        self,
        *,
        tasks: int,
        alpha: float | None,
        deterministic: bool,
        clip: float | None,
        head: Scalar,
    ) -> None:
        self.tasks, self.deterministic, self.clip, self.head = tasks, deterministic, clip, head
        inputs = OBS + (tasks if tasks > 1 else 0)
        self.q1, self.q2 = (mlp(inputs + ACT, head.outputs, tasks == 1) for _ in range(2))
        self.pi = mlp(inputs, ACT if deterministic else 2 * ACT, tasks == 1)
        self.learned = alpha is None and not deterministic
        self.log_alpha = torch.zeros(tasks, dtype=torch.float64, requires_grad=self.learned)
        self.fixed = 0.0 if deterministic else alpha

    def start(self) -> None:
        """Creates targets and optimisers, once the weights are set."""
        self.t1, self.t2 = deepcopy(self.q1), deepcopy(self.q2)
        self.opt = {
            name: Adam(params, lr=3e-4, eps=1e-8, foreach=False)
            for name, params in self.params().items()
        }

    def params(self) -> Grads:
        networks = {"q1": self.q1, "q2": self.q2, "actor": self.pi}
        params = {name: list(net.parameters()) for name, net in networks.items()}
        return params | ({"alpha": [self.log_alpha]} if self.learned else {})

    def sample(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        if self.deterministic:
            action = self.pi(x).tanh() + (0.1 * noise).clamp(-0.25, 0.25)
            return action.clamp(-1, 1), x.new_zeros(len(x))
        mean, log_std = self.pi(x).split(ACT, dim=1)
        std = log_std.clamp(-20, 2).exp()
        u = mean + std * noise
        log_prob = Normal(mean, std).log_prob(u) - (1 - u.tanh() ** 2).log()
        return u.tanh(), log_prob.sum(1)

    def update(
        self, batch: Batch, noise: Noise, *, policy: bool = True
    ) -> tuple[dict[str, Tensor], Grads]:
        rows = batch.task.repeat_interleave(batch.rew.shape[1])
        obs, act, rew, next_obs, discount = (field.flatten(0, 1) for field in batch[:5])
        if self.tasks > 1:
            hot = one_hot(rows, self.tasks).double()
            obs, next_obs = torch.cat((obs, hot), 1), torch.cat((next_obs, hot), 1)
        alpha = self.log_alpha.detach()[rows].exp() if self.fixed is None else self.fixed
        with torch.no_grad():
            next_act, next_logp = self.sample(next_obs, noise.act[0].flatten(0, 1))
            x = torch.cat((next_obs, next_act), 1)
            y = self.head.target([self.t1(x), self.t2(x)], rew, discount, -alpha * next_logp)

        x = torch.cat((obs, act), 1)
        q1_loss, q2_loss = self.head.loss(self.q1(x), y), self.head.loss(self.q2(x), y)
        grads = self.descend((q1_loss + q2_loss) / 2, ["q1", "q2"])
        if not policy:
            return {"q1_loss": q1_loss, "q2_loss": q2_loss}, grads

        new_act, logp = self.sample(obs, noise.act[1].flatten(0, 1))
        x = torch.cat((obs, new_act), 1)
        actor_loss = (alpha * logp - self.head.combined([self.q1(x), self.q2(x)])).mean()
        grads |= self.descend(actor_loss, ["actor"])
        if self.learned:
            alpha_loss = -(self.log_alpha[rows] * (logp.detach() - ACT)).mean()
            grads |= self.descend(alpha_loss, ["alpha"], clip=False)
        return {"q1_loss": q1_loss, "q2_loss": q2_loss, "actor_loss": actor_loss}, grads

    def descend(self, loss: Tensor, names: list[str], clip: bool = True) -> Grads:
        params = [p for name in names for p in self.params()[name]]
        for p in [p for group in self.params().values() for p in group]:
            p.grad = None
        loss.backward()
        if clip and self.clip is not None:
            total = sum(p.grad.square().sum() for p in params).sqrt()
            for p in params:
                p.grad *= min(1.0, self.clip / (total + 1e-6))  # torch's epsilon
        for name in names:
            self.opt[name].step()
        return {name: [p.grad.clone() for p in self.params()[name]] for name in names}

    def move_targets(self, tau: float) -> None:
        for net, target in ((self.q1, self.t1), (self.q2, self.t2)):
            for p, t in zip(net.parameters(), target.parameters(), strict=True):
                t.data = (1 - tau) * t.data + tau * p.data


# --- the same numbers in both layouts -------------------------------------------------------------


def ours_as_textbook(learner: SAC, values: dict[str, Sequence[Tensor]]) -> Grads:
    """``values`` has an entry for each of our optimisers (or parameter groups)."""
    tasks = learner.spec.num_tasks
    result = {"actor": in_textbook_layout(values["actor"], 0, tasks)}
    for member, name in enumerate(("q1", "q2")):
        result[name] = in_textbook_layout(values["critic"], member, tasks)
    if "alpha" in values:
        result["alpha"] = list(values["alpha"])
    return result


def our_weights(learner: SAC) -> dict[str, Sequence[Tensor]]:
    names = [name for name in ("actor", "critic", "alpha") if name in learner.optimizers]
    return {name: learner.optimizers[name].param_groups[0]["params"] for name in names}


def record_gradients(learner: SAC) -> dict[str, list[Tensor]]:
    """Filled at every step with the gradients that the optimisers receive."""
    seen: dict[str, list[Tensor]] = {}
    for name, optimizer in learner.optimizers.items():

        def remember(optimizer: torch.optim.Optimizer, *_: object, name: str = name) -> None:
            seen[name] = [p.grad.clone() for p in optimizer.param_groups[0]["params"]]

        optimizer.register_step_pre_hook(remember)
    return seen


def make_pair(
    tasks: int = 1, critic: dict[str, Any] | None = None, **config: object
) -> tuple[SAC, Textbook]:
    """Our learner and a textbook with its weights; ``critic`` configures the critics of both."""
    learner = make_sac(
        make_spec(tasks, obs_dim=OBS, act_dim=ACT),
        hidden=HIDDEN,
        dtype=torch.float64,
        net={"critic": critic or {}},
        **config,
    )
    shift_biases(learner.actor, learner.critic)
    learner.target.load_state_dict(learner.critic.state_dict())
    alpha = None
    if "alpha" in config:
        alpha = learner.log_alpha[0].exp().item()  # after rounding to a float32 logarithm
        assert alpha == pytest.approx(config["alpha"], rel=1e-7)
    book = Textbook(
        tasks=tasks,
        alpha=alpha,
        deterministic=config.get("policy") == "deterministic",
        clip=config.get("grad_clip"),
        head=Bins(**critic) if critic and "kind" in critic else Scalar(**critic or {}),
    )
    weights = ours_as_textbook(learner, our_weights(learner))
    for name, params in book.params().items():
        for p, weight in zip(params, weights[name], strict=True):
            p.data.copy_(weight)
    book.start()
    return learner, book


def assert_same(ours: Grads, books: Grads) -> None:
    assert ours.keys() == books.keys()
    for name, tensors in books.items():
        for mine, theirs in zip(ours[name], tensors, strict=True):
            torch.testing.assert_close(mine, theirs, **CLOSE, msg=lambda m, n=name: f"{n}: {m}")


def assert_update_agrees(
    learner: SAC, book: Textbook, batch: Batch, seed: int = 0, tau: float = 0.005
) -> Grads:
    """Updates both on the same batch, compares all results and returns our gradients."""
    noise = random_noise(batch, seed=seed)
    seen = record_gradients(learner)
    metrics = learner.update(batch, noise, learner.variant(0))
    losses, grads = book.update(batch, noise)
    book.move_targets(tau)

    for name, loss in losses.items():
        torch.testing.assert_close(metrics[name].mean(), loss.detach(), **CLOSE)
    assert_same(ours_as_textbook(learner, seen), grads)
    assert_state_agrees(learner, book)
    return seen


def assert_state_agrees(learner: SAC, book: Textbook) -> None:
    ours = ours_as_textbook(learner, our_weights(learner))
    assert_same(ours, {name: [p.detach() for p in ps] for name, ps in book.params().items()})
    targets = list(learner.target.parameters())
    for member, target in enumerate((book.t1, book.t2)):
        mine = in_textbook_layout(targets, member, learner.spec.num_tasks)
        assert_same({"target": mine}, {"target": [p.detach() for p in target.parameters()]})


GRID = {"bins": 33, "bound": 16.0}  # a batch's rewards are about 10
CASES = {
    "automatic temperature": {},
    "fixed temperature": {"alpha": 0.2},
    "no temperature": {"alpha": 0.0},
    "clipped gradients": {"grad_clip": 1.0},
    "gradients below the clip": {"grad_clip": 1e6},
    "two tasks": {"tasks": 2},
    "two tasks with a deterministic policy": {"tasks": 2, "policy": "deterministic"},
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
def test_five_updates_with_soft_targets_match_the_textbook(case: dict[str, object]) -> None:
    learner, book = make_pair(**case, tau=0.1)
    for step in range(5):
        batch = random_batch(learner.spec, seed=step)
        assert_update_agrees(learner, book, batch, seed=step, tau=0.1)


@pytest.mark.parametrize(
    ("tasks", "tau", "delay", "interval"), [(2, 1.0, 1, 3), (2, 0.1, 2, 1), (1, 0.1, 3, 1)]
)
def test_delayed_parts_match_the_textbook(
    tasks: int, tau: float, delay: int, interval: int
) -> None:
    """Targets move at every update or every third; policy and temperature at every one to third."""
    learner, book = make_pair(tasks, tau=tau, policy_delay=delay, target_update_interval=interval)
    for step in range(1, 8):
        batch = random_batch(learner.spec, seed=step)
        noise = random_noise(batch, seed=step)
        metrics = learner.update(batch, noise, learner.variant(step - 1))
        losses, _ = book.update(batch, noise, policy=step % delay == 0)
        if step % interval == 0:
            book.move_targets(tau)
        assert ("actor_loss" in metrics) == ("actor_loss" in losses)
        for name, loss in losses.items():
            torch.testing.assert_close(metrics[name].mean(), loss.detach(), **CLOSE)
        assert_state_agrees(learner, book)


def test_logged_gradient_norms_are_those_before_clipping() -> None:
    learner, book = make_pair(grad_clip=0.5)
    book.clip = None
    batch = random_batch(learner.spec)
    noise = random_noise(batch)
    metrics = learner.update(batch, noise, FULL)
    _, grads = book.update(batch, noise)
    for name, parts in (("critic", ["q1", "q2"]), ("actor", ["actor"])):
        norm = torch.cat([grad.flatten() for part in parts for grad in grads[part]]).norm().item()
        assert metrics[f"{name}_grad_norm"].item() == pytest.approx(norm, rel=1e-7)
        assert norm > 0.5


def test_the_reward_scale_multiplies_rewards() -> None:
    learner, book = make_pair(reward_scale=5.0)
    batch = random_batch(learner.spec)
    noise = random_noise(batch)
    metrics = learner.update(batch, noise, FULL)
    losses, _ = book.update(batch._replace(rew=5.0 * batch.rew), noise)
    torch.testing.assert_close(metrics["q1_loss"][0], losses["q1_loss"].detach(), **CLOSE)


@pytest.mark.parametrize("tasks", [[1, 0], [1]], ids=str)
def test_each_task_uses_its_own_temperature(tasks: list[int]) -> None:
    learner, book = make_pair(2)
    for log_alpha in (learner.log_alpha, book.log_alpha):
        log_alpha.data.copy_(torch.tensor([-3.0, 0.5], dtype=torch.float64))
    assert_update_agrees(learner, book, random_batch(learner.spec, tasks=tasks))


@pytest.mark.parametrize(("chosen", "expected"), [("auto", -2.0), (-0.5, -0.5)])
def test_the_target_entropy_is_minus_the_action_dimensions_unless_given(
    chosen: float | str, expected: float
) -> None:
    """The gradient of log alpha is the entropy's excess over its target."""
    learner, _ = make_pair(target_entropy=chosen)
    batch = random_batch(learner.spec)
    seen = record_gradients(learner)
    metrics = learner.update(batch, random_noise(batch), FULL)
    torch.testing.assert_close(seen["alpha"][0], metrics["entropy"] - expected, **CLOSE)
