"""The multi-task starter on the real task sets, with small networks and few frames."""

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import ROOT, TINY, result_of, rows_of, sets
from torch import Tensor

from torchrl_lite.algo.sac import SAC
from torchrl_lite.command.launch import main
from torchrl_lite.types import Batch, Noise

KINDS = ["", "_multihead", "_soft_module", "_independent", "_paco", "_moore", "_film", "_care"]


def run(config: str, tasks: int, log_dir: Path, **extra: object) -> Path:
    """Trains in this process, so that each task's goals are drawn once for all tests here."""
    sizes = {"train.batch_size": 2 * tasks, "replay_buffer.size": 40 * tasks}
    fields = TINY | {"net.hidden_shapes": [8, 8], "train.num_epochs": 2} | sizes | extra
    flags = ["--config", str(ROOT / "config" / f"{config}.json"), "--log_dir", str(log_dir)]
    assert main("sac", [*flags, *sets(fields)], multi_task=True) == 0
    return log_dir / config / f"MT{tasks}" / "1"


MEANS = {
    "eval/success_rate": "eval_success",
    "eval/return": "eval_return",
    "train/alpha": "train_alpha",
    "train/q": "train_q",
    "train/entropy": "train_entropy",
}
"""Means over tasks, and the prefix of the metric per task."""


@pytest.mark.parametrize(
    ("kind", "tasks"),
    [
        ("", 10),
        ("_soft_module", 10),
        *(pytest.param(kind, 50, marks=pytest.mark.slow) for kind in KINDS),
    ],
)
def test_each_architecture_trains_on_each_task_set(kind: str, tasks: int, tmp_path: Path) -> None:
    folder = run(f"mt{tasks}{kind}", tasks, tmp_path)
    names = json.loads((folder / "params.json").read_text())["env"]["tasks"]
    result, rows = result_of(folder), rows_of(folder)
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
    events = EventAccumulator(str(folder)).Reload()
    for mean, own in MEANS.items():
        for name in (mean, *(f"{own}/{task}" for task in names)):
            logged = {int(row["total_frames"]): float(row[name]) for row in rows if row[name] != ""}
            plotted = {point.step: point.value for point in events.Scalars(name)}
            assert logged and plotted == pytest.approx(logged, rel=1e-6), name


def test_a_batch_has_equally_many_transitions_of_each_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``batch_size`` is the total; indices are drawn independently for each task."""
    seen: list[tuple[Batch, Noise]] = []
    update = SAC.update

    def record(learner: SAC, batch: Batch, noise: Noise, variant: str) -> dict[str, Tensor]:
        seen.append((batch, Noise(*(part.clone() for part in noise))))
        return update(learner, batch, noise, variant)

    monkeypatch.setattr(SAC, "update", record)
    run("mt3", 3, tmp_path)
    assert len(seen) == 2 * 2
    for batch, noise in seen:
        assert batch.task.tolist() == [0, 1, 2]
        assert batch.rew.shape == noise.pick.shape == (3, 2)
        assert noise.pick.unique().numel() == 6
