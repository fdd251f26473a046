"""Textbook critics, which treat one return and one bin at a time on flat batches, and what the
textbook algorithms have in common: plain networks, one Adam for each, and a one-hot input."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from math import floor, inf
from statistics import NormalDist
from typing import Any, TypeVar

import torch
from helpers import make_learner, make_spec, random_noise, record_gradients
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam

from torchrl_lite.network.layers import EnsembleLinear
from torchrl_lite.types import Batch, Noise

OBS, ACT, HIDDEN = 5, 2, (16, 12)
GRID = {"bins": 33, "bound": 16.0}  # a batch's rewards are about 10


class Scalar:
    """A critic that predicts one number, trained with the squared error."""

    outputs = 1

    def __init__(self, combine: str = "min") -> None:
        self.mean = combine == "mean"

    def value(self, out: Tensor) -> Tensor:
        return out[:, 0]

    def combined(self, outs: Sequence[Tensor]) -> Tensor:
        values = torch.stack([self.value(out) for out in outs])
        return values.mean(0) if self.mean else values.min(0).values

    def target(
        self, outs: Sequence[Tensor], rew: Tensor, discount: Tensor, bonus: Tensor
    ) -> Tensor:
        return rew + discount * (self.combined(outs) + bonus)

    def loss(self, out: Tensor, target: Tensor) -> Tensor:
        return mse_loss(out[:, 0], target)


class Bins(Scalar):
    """A distribution over bins around ``centres``, trained with the cross-entropy."""

    def __init__(
        self, kind: str, *, bins: int, bound: float, sigma: float = 0.75, combine: str = "min"
    ) -> None:
        super().__init__(combine)
        self.kind, self.outputs, self.bound = kind, bins, bound
        self.width = 2 * bound / (bins - 1)
        self.centres = [-bound + index * self.width for index in range(bins)]
        self.sigma = sigma * self.width

    def value(self, out: Tensor) -> Tensor:
        return out.softmax(1) @ torch.tensor(self.centres, dtype=out.dtype)

    def target(
        self, outs: Sequence[Tensor], rew: Tensor, discount: Tensor, bonus: Tensor
    ) -> Tensor:
        rows = []
        for i in range(len(rew)):
            r, gamma, b = rew[i].item(), discount[i].item(), bonus[i].item()
            own = [out[i : i + 1] for out in outs]
            if self.kind == "c51":
                pairs = zip(self.centres, self.distribution(own), strict=True)
                parts = [self.spread(r + gamma * (z + b), mass) for z, mass in pairs]
                rows.append([sum(column) for column in zip(*parts, strict=True)])
            else:
                y = r + gamma * (self.combined(own).item() + b)
                rows.append(self.spread(y, 1.0) if self.kind == "two_hot" else self.gauss(y))
        return torch.tensor(rows, dtype=rew.dtype)

    def distribution(self, outs: Sequence[Tensor]) -> list[float]:
        """The distribution of the member with the smaller mean, or the average of all."""
        shares = [out.softmax(1)[0].tolist() for out in outs]
        if self.mean:
            return [sum(column) / len(outs) for column in zip(*shares, strict=True)]
        values = [self.value(out).item() for out in outs]
        return shares[values.index(min(values))]

    def spread(self, y: float, mass: float) -> list[float]:
        """Bellemare et al. 2017, algorithm 1."""
        result = [0.0] * self.outputs
        b = (min(max(y, -self.bound), self.bound) + self.bound) / self.width
        lower, upper = floor(b), min(floor(b) + 1, self.outputs - 1)
        result[lower] += mass * (1 - (b - lower))
        result[upper] += mass * (b - lower)
        return result

    def gauss(self, y: float) -> list[float]:
        """Farebrother et al. 2024, eq. 3.1, with the normal truncated at the outer bin edges."""
        normal = NormalDist(min(max(y, -self.bound), self.bound), self.sigma)
        half = self.width / 2
        shares = [normal.cdf(z + half) - normal.cdf(z - half) for z in self.centres]
        return [share / sum(shares) for share in shares]

    def loss(self, out: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(out, target)


# --- algorithms -----------------------------------------------------------------------------------


def mlp(inputs: int, outputs: int, first_bias: bool) -> nn.Sequential:
    """With several tasks, the columns of the one-hot act as the first layer's bias."""
    sizes = [inputs, *HIDDEN, outputs]
    layers: list[nn.Module] = []
    for depth in range(len(sizes) - 1):
        layers.append(nn.Linear(sizes[depth], sizes[depth + 1], bias=depth > 0 or first_bias))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers[:-1]).double()


def in_textbook_layout(values: Sequence[Tensor], tasks: int) -> list[Tensor]:
    """Weights or gradients of a network in the layout of the textbook's, one per ensemble member.

    Ours are ``[E, 1, in, out]`` and ``[E, rows, out]``. The rows of the first bias become the
    one-hot's columns, which lie between the observation and the action.
    """
    result: list[Tensor] = []
    for member in range(len(values[0])):
        for depth, (weight, bias) in enumerate(zip(values[::2], values[1::2], strict=True)):
            matrix, rows = weight[member, 0].detach(), bias[member].detach()
            if tasks > 1 and depth == 0:
                result.append(torch.cat((matrix[:OBS], rows, matrix[OBS:])).T)
            else:
                result += [matrix.T, rows[0]]
    return result


def shift_biases(*networks: nn.Module) -> None:
    """Makes all biases nonzero, so that a missing one shows."""
    generator = torch.Generator().manual_seed(7)
    for module in (part for network in networks for part in network.modules()):
        if isinstance(module, EnsembleLinear):
            module.bias.data += 0.1 * torch.randn(module.bias.shape, generator=generator)


class ActorCritic:
    """An actor, critics and their targets with the weights of ``learner``.

    It shares no code with the project, only one convention: the critics' loss is the mean over them
    (so the gradient of each is half of what a sum of two would give). With several tasks the first
    layers have no bias of their own, because the columns of the one-hot already act as one.
    """

    def __init__(self, learner: Any, *, critics: int, actor_outputs: int) -> None:
        self.config, self.tasks, self.count = learner.config, learner.spec.num_tasks, 0
        critic = learner.net.critic
        scalar = critic.kind == "scalar"
        self.head = Scalar(critic.combine) if scalar else Bins(**critic.model_dump())
        inputs = OBS + (self.tasks if self.tasks > 1 else 0)
        self.pi = mlp(inputs, actor_outputs, self.tasks == 1)
        self.qs = nn.ModuleList(
            mlp(inputs + ACT, self.head.outputs, self.tasks == 1) for _ in range(critics)
        )
        for net, ours in ((self.pi, learner.actor), (self.qs, learner.critic)):
            values = in_textbook_layout(list(ours.parameters()), self.tasks)
            for p, value in zip(net.parameters(), values, strict=True):
                p.data.copy_(value)
        self.q_targets = deepcopy(self.qs)
        self.nets = {"actor": self.pi, "critic": self.qs, "target": self.q_targets}
        """By the names of our networks."""
        self.opt = {
            name: Adam(self.nets[name].parameters(), lr=3e-4, eps=1e-8, foreach=False)
            for name in ("actor", "critic")
        }
        self.grads: dict[str, list[Tensor]] = {}
        self.recorded = record_gradients(learner)

    def flat(self, batch: Batch) -> tuple[Tensor, ...]:
        """Observations with a one-hot, actions, scaled rewards, next observations, discounts, and
        the task of each row."""
        rows = batch.task.repeat_interleave(batch.rew.shape[1])
        obs, act, rew, next_obs, discount = (field.flatten(0, 1) for field in batch[:5])
        if self.tasks > 1:
            hot = one_hot(rows, self.tasks).double()
            obs, next_obs = torch.cat((obs, hot), 1), torch.cat((next_obs, hot), 1)
        return obs, act, self.config.reward_scale * rew, next_obs, discount, rows

    def descend(self, loss: Tensor, name: str, *, clip: bool = True) -> Tensor:
        """Returns the norm before clipping."""
        params = self.opt[name].param_groups[0]["params"]
        self.opt[name].zero_grad()
        loss.backward(inputs=params)
        norm = clip_grad_norm_(params, (self.config.grad_clip if clip else None) or inf)
        self.grads[name] = [p.grad.clone() for p in params]
        self.opt[name].step()
        return norm

    def update_critics(self, obs: Tensor, act: Tensor, target: Tensor) -> dict[str, Tensor]:
        losses = [self.head.loss(q(torch.cat((obs, act), 1)), target) for q in self.qs]
        norm = self.descend(sum(losses) / len(losses), "critic")
        metrics = {f"q{index + 1}_loss": loss for index, loss in enumerate(losses)}
        return metrics | {"critic_grad_norm": norm}

    def follow(self, target: nn.Module, net: nn.Module) -> None:
        for p, t in zip(net.parameters(), target.parameters(), strict=True):
            t.data = (1 - self.config.tau) * t.data + self.config.tau * p.data

    def update(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        raise NotImplementedError


Book = TypeVar("Book", bound=ActorCritic)


def pair_of(
    algo: str,
    book: Callable[[Any], Book],
    *,
    tasks: int = 1,
    critic: dict[str, Any] | None = None,
    **config: Any,
) -> tuple[Any, Book]:
    """Our learner and a textbook; ``critic`` and ``config`` configure both."""
    net = {"hidden_shapes": list(HIDDEN), "critic": critic or {}}
    spec = make_spec(tasks, obs_dim=OBS, act_dim=ACT)
    learner = make_learner(algo, spec, net=net, dtype=torch.float64, **config)
    shift_biases(learner.actor, learner.critic)
    learner.target.load_state_dict(learner.critic.state_dict())
    if algo != "sac":
        learner.target_actor.load_state_dict(learner.actor.state_dict())
    return learner, book(learner)


def assert_same_update(learner: Any, book: ActorCritic, batch: Batch, *, step: int = 0) -> None:
    """Losses, gradients with their norms, and all weights."""
    noise = random_noise(batch, seed=step)
    book.grads.clear()
    book.recorded.clear()
    ours, theirs = learner.update(batch, noise, learner.variant(step)), book.update(batch, noise)
    for name, value in theirs.items():
        assert_close(ours[name].mean(), value.detach(), name)
    assert ours.keys() - theirs.keys() == {"q"}
    assert book.recorded.keys() == book.grads.keys()
    for name, values in book.recorded.items():
        grads = values if name == "alpha" else in_textbook_layout(values, book.tasks)
        assert_close(grads, book.grads[name], f"gradient of {name}")
    for name, net in book.nets.items():
        weights = in_textbook_layout(list(getattr(learner, name).parameters()), book.tasks)
        assert_close(weights, [p.detach() for p in net.parameters()], name)


def assert_close(mine: Any, theirs: Any, what: str) -> None:
    torch.testing.assert_close(
        mine, theirs, rtol=0, atol=1e-10, msg=lambda message: f"{what}: {message}"
    )
