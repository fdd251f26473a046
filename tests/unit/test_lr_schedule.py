"""Learning rate schedules over a run's updates."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import make_learner, make_spec, newest_checkpoint, run_updates, through_a_file
from tiny_runs import assert_same_bits, short

from torchrl_lite.algo.learner import Learner
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
def test_the_shares_at_quarters_of_a_run_and_after_it(
    kind: str, final: float, shares: list[float]
) -> None:
    computed = [share(kind, updates, final=final) for updates in (0, 10, 20, 30, 40)]
    assert share(kind, 41, final=final) == share(kind, 4000, final=final) == computed[-1]
    assert share(kind, 0, final=final, epochs=0) == 1  # a run without updates
    assert computed == pytest.approx(shares, abs=1e-6)


def rates(learner: Learner) -> dict[str, float]:
    return {name: float(opt.param_groups[0]["lr"]) for name, opt in learner.optimizers.items()}


def test_a_checkpoint_keeps_the_current_and_the_initial_rates() -> None:
    """A gentle start lowers the initial rates."""
    learner = make_learner("sac", SPEC, plr=1e-3, qlr=2e-3)
    other = make_learner("sac", SPEC, seed=5, plr=0.5, qlr=0.5)
    learner.start_gently(lr_multiplier=0.3, frozen_updates=0)
    learner.optimizers.schedule(0.25)
    run_updates(learner, 3)
    other.load_training_state(through_a_file(learner.training_state()))
    assert rates(other) == rates(learner)
    for one in (learner, other):
        one.optimizers.schedule(0.5)
        run_updates(one, 3)
    assert rates(other)["critic"] == pytest.approx(0.3e-3)
    assert_same_bits(other.state_dict(), learner.state_dict())


def start(folder: Path, *flags: str) -> list[dict[str, float]]:
    """Trains four epochs of three updates on Pendulum; returns every rate in each."""
    seen: list[dict[str, float]] = []
    original = Learner.run

    def watched(self: Learner, *args: Any, **options: Any) -> None:
        seen.append(rates(self))
        original(self, *args, **options)

    fields = {"env__suite": "gymnasium", "env__tasks": ["Pendulum-v1"], "sac__qlr": 6e-4}
    train = {"train__num_epochs": 4, "train__opt_steps": 3}
    schedule = {"train__lr_schedule": "cosine", "train__lr_final": 0.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "run", watched)
        assert main("sac", short(folder, *flags, **fields | train | schedule)) == 0
    return seen


def test_a_resumed_run_continues_the_schedule(tmp_path: Path) -> None:
    """The share is always of each optimiser's own initial rate."""
    seen = start(tmp_path, "--until", "30") + start(tmp_path, "--resume")
    for share, epoch in zip((1, 0.853553, 0.5, 0.146447), seen, strict=True):
        initial = {"critic": 6e-4, "actor": 3e-4, "alpha": 3e-4}
        assert epoch == pytest.approx({k: share * rate for k, rate in initial.items()}, rel=1e-5)
    run = tmp_path / "x" / "Pendulum-v1" / "1"
    state = torch.load(newest_checkpoint(run), weights_only=True)["learner"]
    assert state["updates"] == 12


def test_moments_of_another_dtype_are_rejected() -> None:
    learner = make_learner("sac", make_spec())
    run_updates(learner, 1)
    state: Any = through_a_file(learner.training_state())
    moments = state["optimizers"]["actor"]["state"][0]
    moments["exp_avg"] = moments["exp_avg"].double()
    with pytest.raises(ValueError, match="exp_avg must be float32"):
        learner.load_training_state(state)
