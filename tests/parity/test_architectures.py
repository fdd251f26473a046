"""Independent agents against single-task learners, and weights of the tasks' losses."""

import math
from typing import Any

import pytest
import torch
from helpers import FULL, make_learner, make_spec, random_batch, random_noise, record_gradients
from torch import Tensor

from torchrl_lite.types import Batch, Noise

F64 = torch.float64


def part(batch: Batch, noise: Noise, rows: slice) -> tuple[Batch, Noise]:
    return Batch(*(field[rows] for field in batch)), Noise(noise.pick[rows], noise.act[:, rows])


def state_of(learner: Any, task: int) -> dict[str, Tensor]:
    """One task's part of independent agents, as a learner of only that task has it."""
    rows = slice(task, task + 1)
    return {
        name: (tensor[rows] if tensor.ndim == 1 else tensor[:, rows]).clone()
        for name, tensor in learner.state_dict().items()
    }


@pytest.mark.parametrize(
    ("clip", "net"),
    [
        (0.05, {"norm": "layer", "residual": True, "hidden_shapes": [8, 8]}),
        (1e3, {"norm": "layer", "critic": {"kind": "c51", "bins": 21, "bound": 16.0}}),
    ],
    ids=str,
)
def test_independent_agents_equal_separate_learners(clip: float, net: dict[str, Any]) -> None:
    """Also if gradients are too small to be clipped."""
    config = {"net": net, "grad_clip": clip, "dtype": F64}
    together = make_learner("sac", make_spec(3), kind="independent", **config)
    alone = [make_learner("sac", make_spec(1), **config) for _ in range(3)]
    for task, learner in enumerate(alone):
        learner.load_state_dict(state_of(together, task))
    for step in range(8):  # at the end, the second agent is inactive
        tasks = [0, 1, 2] if step < 5 else [2, 0]
        batch = random_batch(together.spec, tasks=tasks, seed=step)
        noise = random_noise(batch, seed=step)
        ours = together.update(batch, noise, FULL)
        for place, task in enumerate(tasks):
            own, own_noise = part(batch, noise, slice(place, place + 1))
            own = own._replace(task=torch.tensor([0]))
            for name, value in alone[task].update(own, own_noise, FULL).items():
                torch.testing.assert_close(ours[name][place], value[0], rtol=1e-9, atol=1e-9)
    for task, learner in enumerate(alone):
        own_state = state_of(together, task)
        for name, tensor in learner.state_dict().items():
            torch.testing.assert_close(own_state[name], tensor, rtol=1e-9, atol=1e-9, msg=name)


def test_temperature_weights_scale_all_gradients_but_the_temperatures_own() -> None:
    """Weights proportional to 1/alpha: the joint gradient is the weighted sum of those of each task
    alone. The learning rates are too small to matter."""
    learner = make_learner(
        "sac", make_spec(3), temperature_weights=True, plr=1e-12, qlr=1e-12, dtype=F64
    )
    learner.log_alpha.data = torch.tensor([0.0, -1.0, 2.0], dtype=F64)
    seen = record_gradients(learner)

    def gradients(tasks: slice) -> dict[str, list[Tensor]]:
        batch = random_batch(learner.spec)
        learner.update(*part(batch, random_noise(batch), tasks), "critic+policy")
        return dict(seen)

    together = gradients(slice(None))
    alone = [gradients(slice(task, task + 1)) for task in range(3)]
    inverse = torch.tensor([1.0, math.e, math.exp(-2)]).double()
    weights = {name: inverse / inverse.sum() for name in ("critic", "actor")}
    weights["alpha"] = torch.ones(3).double() / 3
    for name, weight in weights.items():
        for index, gradient in enumerate(together[name]):
            parts = zip(weight, alone, strict=True)
            expected = sum(share * own[name][index] for share, own in parts)
            torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-9)
