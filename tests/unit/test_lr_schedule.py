"""Learning rate schedules over a run's updates."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import CPU, make_learner, make_spec, newest_checkpoint, random_block, through_a_file
from tiny_runs import short

from torchrl_lite.algo.learner import Learner
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.command.launch import main
from torchrl_lite.config.train import TrainConfig

SPEC = make_spec(2)


def share(kind: str, updates: int, *, final: float = 0.5, epochs: int = 10) -> float:
    """The share of the initial rate, in a run with 4 updates per epoch."""
    config = TrainConfig(lr_schedule=kind, lr_final=final, num_epochs=epochs, opt_steps=4)
    return config.lr_share(updates)


@pytest.mark.parametrize(
    ("kind", "final", "shares"),
    [
        ("constant", 0.5, [1, 1, 1, 1, 1]),
        ("linear", 0.5, [1, 0.875, 0.75, 0.625, 0.5]),
        ("cosine", 0.5, [1, 0.926777, 0.75, 0.573223, 0.5]),  # 1/2 + (1 + cos x) / 4
        ("cosine", 0.0, [1, 0.853553, 0.5, 0.146447, 0]),
    ],
)
def test_the_shares_at_quarters_of_a_run(kind: str, final: float, shares: list[float]) -> None:
    computed = [share(kind, updates, final=final) for updates in (0, 10, 20, 30, 40)]
    assert computed == pytest.approx(shares, abs=1e-6)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_the_rate_is_constant_after_the_end(kind: str) -> None:
    """A run without updates has a schedule, too."""
    assert share(kind, 41) == share(kind, 4000) == share(kind, 40)
    assert share(kind, 0, epochs=0) == 1


def rates(learner: Learner) -> dict[str, float]:
    return {name: float(opt.param_groups[0]["lr"]) for name, opt in learner.optimizers.items()}


def learner_of(algo: str, **config: Any) -> Any:
    return make_learner(algo, SPEC, **{"plr": 1e-3, "qlr": 2e-3} | config)


def run(learner: Learner, updates: int) -> None:
    buffer = ReplayBuffer(SPEC, 40, CPU)
    buffer.add_block(random_block(SPEC, 30), [0, 1])
    learner.run(buffer, [0, 1], opt_steps=updates, batch_size=8)


@pytest.mark.parametrize("algo", ["sac", "td3", "ddpg"])
def test_the_share_scales_every_optimisers_own_rate(algo: str) -> None:
    learner = learner_of(algo)
    start = rates(learner)
    assert start == {"critic": 2e-3} | dict.fromkeys(start.keys() - {"critic"}, 1e-3)
    for part in (0.5, 0.25, 0.8, 1.0):  # always of the initial rate
        learner.optimizers.schedule(part)
        assert rates(learner) == pytest.approx({name: part * rate for name, rate in start.items()})


def test_a_checkpoint_keeps_the_current_and_the_initial_rates() -> None:
    """A gentle start lowers the initial rates."""
    learner, other = learner_of("sac"), learner_of("sac", seed=5, plr=0.5, qlr=0.5)
    learner.start_gently(lr_multiplier=0.3, frozen_updates=0)
    learner.optimizers.schedule(0.25)
    run(learner, 3)
    other.load_training_state(through_a_file(learner.training_state()))
    assert rates(other) == rates(learner)
    for one in (learner, other):
        one.optimizers.schedule(0.5)
        run(one, 3)
    assert rates(other)["critic"] == pytest.approx(0.3e-3)
    for name, value in learner.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def start(folder: Path, *flags: str, **changes: Any) -> list[float]:
    """Trains four epochs of three updates on Pendulum; returns the critic's rate in each."""
    seen: list[float] = []
    original = Learner.run

    def watched(self: Learner, *args: Any, **options: Any) -> None:
        assert len(set(rates(self).values())) == 1  # plr is qlr
        seen.append(rates(self)["critic"])
        original(self, *args, **options)

    env = {"env__suite": "gymnasium", "env__tasks": ["Pendulum-v1"]}
    train = {"train__num_epochs": 4, "train__opt_steps": 3}
    argv = short(folder, *flags, **env | train | changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "run", watched)
        assert main("sac", argv) == 0
    return seen


def by_quarters(*shares: float) -> Any:
    return pytest.approx([3e-4 * part for part in shares], rel=1e-5)


def test_a_resumed_run_continues_the_schedule(tmp_path: Path) -> None:
    cosine: dict[str, Any] = {"train__lr_schedule": "cosine", "train__lr_final": 0.0}
    half = start(tmp_path, "--until", "30", **cosine)
    rest = start(tmp_path, "--resume", **cosine)
    assert half + rest == by_quarters(1, 0.853553, 0.5, 0.146447)
    run = tmp_path / "x" / "Pendulum-v1" / "1"
    state = torch.load(newest_checkpoint(run), weights_only=True)["learner"]
    assert state["updates"] == 12
