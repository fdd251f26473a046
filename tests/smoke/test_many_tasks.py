"""The multi-task starter on the real task sets, with small networks and few frames."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from torchrl_lite.algo.sac import SAC
from torchrl_lite.command.launch import main
from torchrl_lite.types import Batch, Noise

ROOT = Path(__file__).parents[2]
TINY = {
    "env.max_episode_frames": 10,
    "net.hidden_shapes": "[8,8]",
    "train.epoch_frames": 10,
    "train.opt_steps": 2,
    "train.pretrain_epochs": 1,
    "train.num_epochs": 2,
    "train.eval_interval": 2,
    "train.eval_episodes": 1,
    "train.final_eval_episodes": 1,
    "system.threads": 1,
}


KINDS = ["", "_multihead", "_soft_module", "_independent", "_paco", "_moore", "_film", "_care"]


def arguments(config: str, log_dir: Path, **extra: object) -> list[str]:
    settings = TINY | extra
    return [
        "--config",
        str(ROOT / "config" / f"{config}.json"),
        "--log_dir",
        str(log_dir),
        *(part for key, value in settings.items() for part in ("--set", f"{key}={value}")),
    ]


def run_in_process(config: str, tasks: int, log_dir: Path) -> Path:
    """In this process, so that a task's goals are drawn once for all these tests."""
    extra = {
        "train.batch_size": 2 * tasks,
        "replay_buffer.size": 40 * tasks,
        "system.workers": 0,
    }
    assert main("sac", arguments(config, log_dir, **extra), multi_task=True) == 0
    return log_dir / config / f"MT{tasks}" / "1"


MEANS = {
    "eval/success_rate": "eval_success",
    "eval/return": "eval_return",
    "train/alpha": "train_alpha",
    "train/q": "train_q",
    "train/entropy": "train_entropy",
}
"""Means over tasks, and what each task's own is called."""


@pytest.mark.parametrize(
    ("kind", "tasks"),
    [
        *((kind, 10) for kind in (*KINDS, "_soft_module_deep")),
        ("_soft_module", 50),
        *(pytest.param(kind, 50, marks=pytest.mark.slow) for kind in KINDS if "soft" not in kind),
    ],
)
def test_each_architecture_runs_each_set(kind: str, tasks: int, tmp_path: Path) -> None:
    run = run_in_process(f"mt{tasks}{kind}", tasks, tmp_path)
    names = json.loads((run / "params.json").read_text())["env"]["tasks"]
    result = json.loads((run / "result.json").read_text())
    rows = list(csv.DictReader((run / "log.csv").open()))
    assert len(names) == tasks and len(rows) == 3
    assert result["frames"] == 3 * 10 * tasks
    for task in names:
        assert rows[1][f"eval_success/{task}"] != ""
        assert rows[0][f"eval_success/{task}"] == ""
        assert float(rows[2][f"train_alpha/{task}"]) > 0
        assert rows[2][f"train_q/{task}"] != "" and rows[2][f"train_entropy/{task}"] != ""
        assert int(rows[2][f"frames/{task}"]) == 30
    for mean, name in MEANS.items():
        assert result[mean] == pytest.approx(sum(result[f"{name}/{t}"] for t in names) / tasks)


def test_tensorboard_has_every_task_as_the_log_does(tmp_path: Path) -> None:
    run = run_in_process("mt10", 10, tmp_path)
    rows = list(csv.DictReader((run / "log.csv").open()))
    events = EventAccumulator(str(run)).Reload()
    names = json.loads((run / "params.json").read_text())["env"]["tasks"]
    for mean, kind in MEANS.items():
        for name in (mean, *(f"{kind}/{task}" for task in names)):
            told = {int(row["total_frames"]): float(row[name]) for row in rows if row[name] != ""}
            shown = {point.step: point.value for point in events.Scalars(name)}
            assert told and shown == pytest.approx(told, rel=1e-6), name


def test_a_batch_has_the_same_number_of_each_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``batch_size`` counts them all; their indices are drawn for each task by itself."""
    seen: list[tuple[Batch, Noise]] = []
    update = SAC.update

    def remember(learner: SAC, batch: Batch, noise: Noise, variant: str) -> dict[str, Tensor]:
        seen.append((batch, Noise(*(part.clone() for part in noise))))
        return update(learner, batch, noise, variant)

    monkeypatch.setattr(SAC, "update", remember)
    run_in_process("mt3", 3, tmp_path)
    assert len(seen) == 2 * 2
    for batch, noise in seen:
        assert batch.task.tolist() == [0, 1, 2]
        assert batch.rew.shape == noise.pick.shape == (3, 2)
        assert noise.pick.unique().numel() == 6


def test_uneven_workers_change_nothing(tmp_path: Path) -> None:
    """Three tasks, six environments in groups of four: two groups, one of them short."""
    logs = []
    for workers in (0, 2):
        folder = tmp_path / str(workers)
        extra = {
            "env.num_envs": 6,
            "env.group_size": 4,
            "train.batch_size": 12,
            "replay_buffer.size": 600,
            "system.workers": workers,
        }
        if workers:  # processes that import the starter
            command = [sys.executable, "starter/mt_sac.py", *arguments("mt3", folder, **extra)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        else:
            assert main("sac", arguments("mt3", folder, **extra), multi_task=True) == 0
        rows = list(csv.DictReader((folder / "mt3" / "MT3" / "1" / "log.csv").open()))
        logs.append(
            [{k: v for k, v in row.items() if not k.startswith(("time/", "rate/"))} for row in rows]
        )
    assert logs[0] == logs[1]


@pytest.mark.parametrize(
    ("config", "setting", "key"),
    [
        ("mt3", 'env.tasks=["reach-v3","push-v3","reach-v3"]', "env.tasks: 'reach-v3'"),
        ("mt10", "env.num_envs=15", "env.num_envs: 15"),
        ("mt10", "train.batch_size=5", "train.batch_size: 5"),
        ("mt10", "train.batch_size=1285", "train.batch_size: 1285"),
        ("mt10_soft_module", "net.soft_module.num_modules=0", "net.soft_module.num_modules: 0"),
        ("mt10_soft_module", "net.soft_module.num_modules=1025", "and <= 1024"),
        ("mt10_soft_module", "net.soft_module.num_layers=1.5", "net.soft_module.num_layers: 1.5"),
        ("mt10_soft_module", "net.hidden_shapes=[]", "net.hidden_shapes: []"),
        ("mt10", "net.kind=softmodule", "did you mean 'soft_module'"),
    ],
)
def test_a_mistake_is_one_line(
    config: str, setting: str, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(ROOT / "config" / f"{config}.json")
    argv = ["--config", path, "--set", setting, "--log_dir", str(tmp_path)]
    assert main("sac", argv, multi_task=True) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and key in error
    assert not any(tmp_path.iterdir())
