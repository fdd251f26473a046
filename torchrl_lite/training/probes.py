"""Diagnostics of the networks at an evaluation: critics' bias, saturated actions, dead units, and
how far the tasks' gradients agree.

Nothing here changes what training uses: random numbers have a generator of their own.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from numpy import ndarray
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from torchrl_lite.algo.gradients.cosine import mean_cosine, products_of, shared_gradients
from torchrl_lite.algo.learner import Learner
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.reporting.console import Row
from torchrl_lite.training.evaluation import ByTask, mean
from torchrl_lite.types import Batch, Noise

RELU = (torch.relu, torch.relu_, functional.relu, functional.relu_, Tensor.relu, Tensor.relu_)
"""All names of the activation whose units are watched; `nn.ReLU` calls one of them."""
SATURATED = 0.99
"""An action beyond this, of at most 1, is saturated."""
MAX_ROWS = 256
"""Maximum transitions per task in the search for dead units."""
GRADIENT_ROWS = 128
"""Transitions per task of the batch whose gradients are compared: those of `mt10.json`."""


def probe(episodes: ByTask, learner: Learner, buffer: ReplayBuffer) -> Row:
    """The columns of an evaluation that describe the networks."""
    kept = {
        task: sampled
        for task, group in episodes.items()
        if buffer.holds(task)  # else its rewards have no scale yet
        and (sampled := [stats for stats in group if stats.sample is not None])
    }
    if not kept:
        return {}
    batches = [_batch(_some(_rows(group)), task, learner, buffer) for task, group in kept.items()]
    dead_actor, dead_critic = dead_units(batches, learner)
    return q_bias(kept, learner, buffer) | {
        "eval/saturated": saturated(kept, learner),
        "eval/dead_actor": dead_actor,
        "eval/dead_critic": dead_critic,
        **gradient_cosine(learner, buffer),
    }


def gradient_cosine(learner: Learner, buffer: ReplayBuffer) -> Row:
    """The cosine of the critics' gradients of two tasks in shared parameters, averaged over all
    pairs; empty if fewer than two tasks share any."""
    tasks = [task for task in range(learner.spec.num_tasks) if buffer.holds(task)]
    if len(tasks) < 2 or learner.independent:
        return {}
    index = torch.tensor(tasks, device=learner.device)
    generator = torch.Generator().manual_seed(0)
    shape = len(tasks), GRADIENT_ROWS
    pick = torch.rand(shape, generator=generator, dtype=torch.float64).to(learner.device)
    act = torch.randn(2, *shape, learner.spec.act_dim, generator=generator).to(learner.device)
    batch = buffer.sample(pick, index, discount=learner.config.discount)
    gradients = shared_gradients(
        learner.critic, lambda: learner.critic_loss(batch, Noise(pick=pick, act=act))
    )
    return {"eval/gradient_cosine": float(mean_cosine(products_of(gradients)))}


def td_error(episodes: ByTask, learner: Learner, buffer: ReplayBuffer) -> float | None:
    """The critics' one-step loss on transitions that are never trained on. With one-step returns,
    the gap to the training loss is overfitting; evaluations also act without noise. ``buffer``
    scales rewards as in updates."""
    return mean(
        [
            float(validate(learner, _batch(_rows(group), task, learner, buffer)))
            for task, group in episodes.items()
            if buffer.holds(task) and any(stats.sample is not None for stats in group)
        ]
    )


@torch.no_grad()
def validate(learner: Learner, batch: Batch) -> Float[Tensor, " T"]:
    """`Learner.critic_loss` with fixed noise."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, *batch.act.shape)
    act = torch.randn(shape, generator=generator, dtype=batch.act.dtype).to(learner.device)
    return learner.critic_loss(batch, Noise(pick=torch.zeros_like(batch.rew), act=act))


def q_bias(episodes: ByTask, learner: Learner, buffer: ReplayBuffer) -> Row:
    """The critics' combined value of each episode's first step, and how far it is above the
    discounted return that followed, both in scaled rewards."""
    config = learner.config
    values, biases = [], []
    row: Row = {}
    for task, group in episodes.items():
        starts = np.stack([stats.sample[0] for stats in group if stats.sample is not None])
        batch = _batch(starts, task, learner, buffer)
        with torch.no_grad():
            prediction = learner.critic(batch.obs, batch.act, batch.task)
            value = learner.critic.combine(learner.critic.value(prediction))[0].cpu().numpy()
        scale = config.reward_scale * float(buffer.reward_scale[task])
        returns = scale * np.array([discounted(stats, config.discount) for stats in group])
        values.append(float(value.mean()))
        biases.append(float((value - returns).mean()))
        row[f"eval_q_bias/{learner.spec.tasks[task]}"] = biases[-1]
    return {"eval/q": mean(values), "eval/q_bias": mean(biases)} | row


def discounted(stats: EpisodeStats, discount: float) -> float:
    """The discounted return from the first step on."""
    rewards = np.zeros(0) if stats.rewards is None else stats.rewards
    return float(rewards @ discount ** np.arange(len(rewards)))


def saturated(episodes: ByTask, learner: Learner) -> float | None:
    """Share of an evaluation's actions, dimension by dimension, that are saturated."""
    spec = learner.spec
    shares = []
    for task, group in episodes.items():
        actions = _rows(group)[:, spec.obs_dim : spec.obs_dim + spec.act_dims[task]]
        shares.append(float((np.abs(actions) > SATURATED).mean()))
    return mean(shares)


def dead_units(batches: Sequence[Batch], learner: Learner) -> tuple[float | None, float | None]:
    """Shares of the actor's and the critics' ReLU units that are 0 on all of these transitions;
    None without such units.

    A unit of a shared network is dead if it is 0 for every task; independent agents are averaged.
    """
    actor = [_alive(learner.actor.act, b.obs, b.task) for b in batches]
    critic = [_alive(learner.critic, b.obs, b.act, b.task) for b in batches]
    return _dead_share(actor, learner.independent), _dead_share(critic, learner.independent)


def _dead_share(alive: Sequence[Bool[Tensor, " units"]], independent: bool) -> float | None:
    units = torch.stack(list(alive))
    if not independent:
        units = units.any(0)
    return 1.0 - float(units.float().mean()) if units.numel() else None


class _Units(TorchFunctionMode):
    """Records which ReLU outputs are positive, in any architecture."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: list[Bool[Tensor, " n"]] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in RELU:
            # [E, ..., H]: units of an ensemble's members are distinct, rows are not.
            self.alive.append((out > 0).flatten(1, -2).any(1).flatten())
        return out


@torch.no_grad()
def _alive(forward: Callable[..., object], *inputs: Tensor) -> Bool[Tensor, " units"]:
    """Which units of a forward pass are above 0 for any of its rows."""
    with _Units() as units:
        forward(*inputs)
    return torch.cat(units.alive) if units.alive else torch.zeros(0, dtype=torch.bool)


def _rows(group: Sequence[EpisodeStats]) -> Float32[ndarray, "n D"]:
    """The transitions that the episodes kept."""
    return np.concatenate([stats.sample for stats in group if stats.sample is not None])


def _some(rows: Float32[ndarray, "n D"]) -> Float32[ndarray, "m D"]:
    """At most `MAX_ROWS` of them, evenly spread."""
    return rows[:: -(-len(rows) // MAX_ROWS)]


def _batch(
    rows: Float32[ndarray, "n D"], task: int, learner: Learner, buffer: ReplayBuffer
) -> Batch:
    index = torch.tensor([task], device=learner.device)
    moved = torch.from_numpy(rows)[None].to(learner.device)
    return buffer.batch(moved, index, discount=learner.config.discount)
