"""TD3 and DDPG against a textbook: plain layers, one Adam a network, a one-hot input."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from helpers import (
    CPU,
    make_learner,
    make_spec,
    random_batch,
    random_block,
    random_noise,
    rows_of_tasks,
)
from textbook_critics import Bins, Number
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.optim import Adam

from torchrl_lite.algo.ddpg import DDPG
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.network.layers import EnsembleLinear
from torchrl_lite.types import Batch, Noise

OBS, ACT, HIDDEN = 5, 2, (16, 12)
TAU = 0.1


class Textbook:
    """TD3 as in Fujimoto et al. 2018, algorithm 1, on a flat batch; DDPG is the case of one critic,
    no smoothing and no delay. It shares one convention with the project: the critics' loss is the
    mean over them.
    """

    def __init__(
        self, tasks: int, critics: int, *, noise: float, bound: float, delay: int, says: Number
    ) -> None:
        self.tasks, self.noise, self.bound, self.delay, self.count = tasks, noise, bound, delay, 0
        self.says = says
        inputs = OBS + (tasks if tasks > 1 else 0)
        self.pi = mlp(inputs, ACT, tasks == 1)
        self.qs = nn.ModuleList(mlp(inputs + ACT, says.outputs, tasks == 1) for _ in range(critics))

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
            said = [q(torch.cat((s2, a2), 1)) for q in self.q_targets]
            y = self.says.target(said, r, discount, torch.zeros_like(r))
        losses = [self.says.loss(q(torch.cat((s, a), 1)), y) for q in self.qs]
        self.q_opt.zero_grad()
        (sum(losses) / len(losses)).backward()
        self.q_opt.step()
        told = {f"q{index + 1}_loss": loss.detach() for index, loss in enumerate(losses)}
        if self.count % self.delay == 0:
            said = self.qs[0](torch.cat((s, self.pi(s).tanh()), 1))
            told["actor_loss"] = -self.says.value(said).mean()
            self.pi_opt.zero_grad()
            told["actor_loss"].backward()
            self.pi_opt.step()
            for net, target in ((self.pi, self.pi_target), (self.qs, self.q_targets)):
                for p, t in zip(net.parameters(), target.parameters(), strict=True):
                    t.data = (1 - TAU) * t.data + TAU * p.data
        return told


def mlp(inputs: int, outputs: int, first_bias: bool) -> nn.Sequential:
    """With several tasks the columns of the one-hot are the first layer's bias."""
    sizes = [inputs, *HIDDEN, outputs]
    layers: list[nn.Module] = []
    for depth in range(len(sizes) - 1):
        layers.append(nn.Linear(sizes[depth], sizes[depth + 1], bias=depth > 0 or first_bias))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers[:-1]).double()


def as_textbook(module: nn.Module, member: int, tasks: int) -> list[Tensor]:
    """One member's weights ``[E, 1, in, out]`` and biases ``[E, rows, out]`` as plain layers hold
    them; the rows of the first bias are the one-hot's columns, between observation and action."""
    result: list[Tensor] = []
    for layer in (part for part in module.modules() if isinstance(part, EnsembleLinear)):
        matrix, rows = layer.weight[member, 0].detach(), layer.bias[member].detach()
        if tasks > 1 and not result:
            result.append(torch.cat((matrix[:OBS], rows, matrix[OBS:])).T)
        else:
            result += [matrix.T, rows[0]]
    return result


def make_pair(
    algo: str, tasks: int = 1, critic: dict[str, Any] | None = None, **config: Any
) -> tuple[DDPG, Textbook]:
    """Our learner, and a textbook with its weights."""
    spec = make_spec(tasks, obs_dim=OBS, act_dim=ACT)
    net = {"hidden_shapes": list(HIDDEN), "critic": critic or {}}
    learner = make_learner(algo, spec, net=net, dtype=torch.float64, tau=TAU, **config)
    says = Bins(**critic) if critic and "kind" in critic else Number(**critic or {})
    generator = torch.Generator().manual_seed(7)
    for module in (*learner.actor.modules(), *learner.critic.modules()):
        if isinstance(module, EnsembleLinear):  # biases that are not zero, so that a lost one shows
            module.bias.data += 0.1 * torch.randn(module.bias.shape, generator=generator)
    learner.target.load_state_dict(learner.critic.state_dict())
    learner.target_actor.load_state_dict(learner.actor.state_dict())
    if algo == "ddpg":
        book = Textbook(tasks, 1, noise=0.0, bound=0.0, delay=1, says=says)
    else:
        own = learner.config
        book = Textbook(
            tasks, 2, noise=own.target_noise, bound=own.target_noise_clip,
            delay=own.policy_delay, says=says,
        )  # fmt: skip
    for net, values in pairs(learner, book)[:-2]:
        for p, value in zip(net.parameters(), values, strict=True):
            p.data.copy_(value)
    book.start()
    return learner, book


def pairs(learner: DDPG, book: Textbook) -> list[tuple[nn.Module, list[Tensor]]]:
    """The textbook's networks and our values for them; the targets come last."""
    tasks = learner.spec.num_tasks

    def critics(module: nn.Module) -> list[Tensor]:
        members = range(learner.CRITICS)
        return [value for member in members for value in as_textbook(module, member, tasks)]

    result = [(book.pi, as_textbook(learner.actor, 0, tasks)), (book.qs, critics(learner.critic))]
    if hasattr(book, "pi_target"):
        result.append((book.pi_target, as_textbook(learner.target_actor, 0, tasks)))
        result.append((book.q_targets, critics(learner.target)))
        return result
    return [*result, result[0], result[1]]


def assert_agree(learner: DDPG, book: Textbook) -> None:
    for net, values in pairs(learner, book):
        for mine, theirs in zip(values, net.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs.detach(), rtol=0, atol=1e-10)


GRID = {"bins": 33, "bound": 16.0}  # rewards of a batch are about ten
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "ddpg": ("ddpg", {}),
    "ddpg, three tasks": ("ddpg", {"tasks": 3}),
    "td3, delay 1": ("td3", {"policy_delay": 1}),
    "td3, delay 2": ("td3", {}),
    "td3, delay 3": ("td3", {"policy_delay": 3}),
    "td3, wide noise": ("td3", {"target_noise": 2.0, "target_noise_clip": 0.7}),
    "td3, three tasks": ("td3", {"tasks": 3}),
    "td3, two tasks, delay 3": ("td3", {"tasks": 2, "policy_delay": 3}),
    "td3, mean of two critics": ("td3", {"critic": {"combine": "mean"}}),
    "td3, hl_gauss": ("td3", {"critic": {"kind": "hl_gauss", **GRID}}),
    "td3, two_hot, mean": ("td3", {"critic": {"kind": "two_hot", "combine": "mean", **GRID}}),
    "td3, c51, two tasks": ("td3", {"tasks": 2, "critic": {"kind": "c51", **GRID}}),
    "ddpg, hl_gauss, two tasks": ("ddpg", {"tasks": 2, "critic": {"kind": "hl_gauss", **GRID}}),
    "ddpg, c51": ("ddpg", {"critic": {"kind": "c51", **GRID}}),
}


@pytest.mark.parametrize(("algo", "case"), CASES.values(), ids=CASES.keys())
def test_seven_updates_are_the_textbooks(algo: str, case: dict[str, Any]) -> None:
    learner, book = make_pair(algo, **case)
    for step in range(7):
        batch = random_batch(learner.spec, seed=step)
        noise = random_noise(batch, seed=step)

        ours = learner.update(batch, noise, learner.variant(step))

        theirs = book.update(batch, noise)
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name].mean(), value.detach(), rtol=0, atol=1e-10)
        assert ("actor_loss" in ours) == ("actor_loss" in theirs)
        assert_agree(learner, book)


@pytest.mark.parametrize(
    ("delay", "steps"), [(1, [1, 2, 3, 4, 5, 6]), (2, [2, 4, 6]), (3, [3, 6])], ids=str
)
def test_the_actor_moves_at_every_dth_update_and_only_there(delay: int, steps: list[int]) -> None:
    learner = make_learner("td3", make_spec(), policy_delay=delay, dtype=torch.float64)
    moved = []
    for step in range(6):
        batch = random_batch(learner.spec, seed=step)
        before = deepcopy(learner.actor.state_dict())
        learner.update(batch, random_noise(batch), learner.variant(step))
        after = learner.actor.state_dict()
        if any(not torch.equal(before[name], after[name]) for name in before):
            moved.append(step + 1)
    assert moved == steps


@pytest.mark.parametrize("algo", ["td3", "ddpg"])
def test_an_actors_step_leaves_the_critics_alone(algo: str) -> None:
    learner = make_learner(algo, make_spec(), dtype=torch.float64)
    batch = random_batch(learner.spec)
    act = learner.actor.act(batch.obs, batch.task)
    q = learner.critic.value(learner.critic(batch.obs, act, batch.task))
    learner.step("actor", -q[0].mean(1), batch.task)
    assert all(p.grad is None for p in learner.critic.parameters())


@pytest.mark.parametrize("algo", ["td3", "ddpg"])
def test_exploration_noise_is_gaussian_and_the_action_stays_in_its_box(algo: str) -> None:
    learner = make_learner(algo, make_spec(), dtype=torch.float64, noise_std=0.5)
    batch = random_batch(learner.spec, batch_size=64)
    noise = random_noise(batch).act[0]
    calm = learner.actor.act(batch.obs, batch.task)

    act = learner.actor.explore(batch.obs, batch.task, noise)

    torch.testing.assert_close(act, (calm + 0.5 * noise).clamp(-1, 1))


# --- several tasks --------------------------------------------------------------------------------


@pytest.mark.parametrize("algo", ["td3", "ddpg"])
@pytest.mark.parametrize("kind", ["multihead", "independent"])
def test_what_does_not_train_does_not_move(algo: str, kind: str) -> None:
    learner = make_learner(algo, make_spec(3), kind=kind, dtype=torch.float64, policy_delay=2)
    for step in range(2):  # Adam has momentum in every row
        batch = random_batch(learner.spec, seed=step)
        learner.update(batch, random_noise(batch), learner.variant(step))
    before = {name: p.detach().clone() for name, p in rows_of_tasks(learner, 3).items()}
    assert any(name.startswith("target_actor") for name in before)

    for step in range(2, 6):
        batch = random_batch(learner.spec, tasks=[0, 2], seed=step)
        learner.update(batch, random_noise(batch), learner.variant(step))

    for name, parameter in learner.named_parameters():
        if name in before:
            assert torch.equal(parameter[:, 1], before[name][:, 1]), name
            assert not torch.equal(parameter[:, [0, 2]], before[name][:, [0, 2]]), name


@pytest.mark.parametrize("algo", ["td3", "ddpg"])
def test_independent_agents_are_separate_learners(algo: str) -> None:
    config = {"grad_clip": 0.5, "dtype": torch.float64}
    both = make_learner(algo, make_spec(2), kind="independent", **config)
    alone = [make_learner(algo, make_spec(1), **config) for _ in range(2)]
    for index, single in enumerate(alone):
        values = {n: v[:, index : index + 1] for n, v in both.state_dict().items()}
        single.load_state_dict(values)
    for step in range(4):
        batch = random_batch(both.spec, seed=step)
        noise = random_noise(batch, seed=step)
        both.update(batch, noise, both.variant(step))
        for index, single in enumerate(alone):
            rows = slice(index, index + 1)
            one = Batch(*(field[rows] for field in batch[:5]), task=torch.tensor([0]))
            single.update(one, Noise(noise.pick[rows], noise.act[:, rows]), single.variant(step))
    for index, single in enumerate(alone):
        for name, value in single.state_dict().items():
            row = both.state_dict()[name][:, index : index + 1]
            torch.testing.assert_close(row, value, rtol=0, atol=1e-10)


# --- what is logged -------------------------------------------------------------------------------


def test_a_metric_is_the_mean_over_the_updates_that_measured_it() -> None:
    spec = make_spec(2)
    learner = make_learner("td3", spec, policy_delay=3)
    buffer = ReplayBuffer(spec, 50, CPU)
    buffer.add_block(random_block(spec, 40), [0, 1])
    seen: list[dict[str, Tensor]] = []
    update = learner._update

    def remember(*args: Any) -> dict[str, Tensor]:
        seen.append(update(*args))
        return seen[-1]

    learner._update = remember
    learner.run(buffer, [0, 1], opt_steps=7, batch_size=8)
    told = learner.flush()

    for name in ("q1_loss", "q2_loss", "actor_loss", "actor_grad_norm"):
        values = [metrics[name] for metrics in seen if name in metrics]
        assert len(values) == (2 if name.startswith("actor") else 7)
        assert told[f"train/{name}"] == pytest.approx(torch.stack(values).mean().item(), rel=1e-5)

    learner.run(buffer, [0, 1], opt_steps=1, batch_size=8)  # one critic update
    assert "train/actor_loss" not in learner.flush()
