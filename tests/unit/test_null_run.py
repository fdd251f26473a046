"""The loop without a run directory: the same training, and nothing left behind."""

from pathlib import Path

import pytest
import torch

from torchrl_lite.algo.registry import ALGORITHMS, SECTIONS
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.collector.collector import Collector
from torchrl_lite.collector.setup import RolloutSetup
from torchrl_lite.command import launch
from torchrl_lite.command.options import resolve
from torchrl_lite.config import Config, load
from torchrl_lite.env.make import make_spec
from torchrl_lite.training.null_run import NullRun
from torchrl_lite.training.rl_algo import RLAlgo

SETTINGS = {
    "env.suite": "gymnasium",
    "env.tasks": '["Pendulum-v1"]',
    "net.hidden_shapes": "[16]",
    "train.num_epochs": "2",
    "train.pretrain_epochs": "1",
    "train.epoch_frames": "30",
    "train.opt_steps": "5",
    "train.batch_size": "16",
    "train.eval_interval": "2",
    "train.eval_episodes": "1",
    "train.final_eval_episodes": "1",
    "system.threads": "1",
}
OVERRIDES = [f"{key}={value}" for key, value in SETTINGS.items()]
CONFIG = Path(__file__).parents[2] / "config" / "base_st.json"
SEED = 3


class Memory(NullRun):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.finished = False

    def after_epoch(self, algo: RLAlgo, row: dict[str, float | int | None]) -> bool:
        assert row["epoch"] == algo.epoch
        self.epochs.append(algo.epoch)
        return False

    def finish(self, algo: RLAlgo) -> None:
        self.finished = algo.epoch == algo.config.total_epochs


def trained(config: Config, run: NullRun) -> RLAlgo:
    torch.manual_seed(SEED)
    learner = ALGORITHMS["sac"][0](
        config.agent, config.net, make_spec(config.env), device=torch.device("cpu"), seed=SEED
    )
    buffer = ReplayBuffer(learner.spec, config.capacity, learner.device)
    frames = config.train.epoch_frames
    with Collector(
        RolloutSetup(config.env, learner.spec, learner.actor, seed=SEED), epoch_frames=frames
    ) as collector:
        algo = RLAlgo(config, learner, collector, buffer, run)
        assert algo.train()
    return algo


def test_the_loop_alone_trains_as_a_starter_does_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    """A run of one's own is told of every epoch."""
    config = resolve(load(CONFIG, OVERRIDES, sections=SECTIONS, algo="sac"))
    monkeypatch.chdir(tmp_path)
    memory = Memory()
    alone = trained(config, memory)
    assert (memory.epochs, memory.finished) == ([1, 2, 3], True)
    assert (alone.total_frames, alone.learner.updates) == (90, 10)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")

    argv = ["--config", str(CONFIG), "--seed", str(SEED), "--log_dir", str(tmp_path)]
    argv += [part for override in OVERRIDES for part in ("--set", override)]
    assert launch.main("sac", argv) == 0
    (path,) = tmp_path.rglob("last_3.pt")
    networks = torch.load(path, weights_only=True)["learner"]["networks"]
    for name, tensor in alone.learner.state_dict().items():
        assert torch.equal(tensor, networks[name]), name
