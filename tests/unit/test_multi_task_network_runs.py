"""Tiny MT3 runs of PaCo, MOORE, FiLM and CARE: resume, transfer, playing, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import complete_state
from test_run_directory import assert_same_run

from torchrl_lite.command.launch import main
from torchrl_lite.policies.play import evaluate, load_policy

CONFIG = Path(__file__).parents[2] / "config"
KINDS = ("paco", "moore", "film", "care")
TINY = {
    "env.max_episode_frames": 15,
    "net.hidden_shapes": "[8,8]",
    "net.norm": "layer",
    "net.critic.kind": "hl_gauss",
    "net.critic.bins": 11,
    "replay_buffer.size": 120,
    "train.epoch_frames": 10,
    "train.opt_steps": 1,
    "train.pretrain_epochs": 1,
    "train.num_epochs": 2,
    "train.batch_size": 6,
    "train.eval_interval": 2,
    "train.eval_episodes": 1,
    "train.final_eval_episodes": 1,
    "system.threads": 1,
    "system.workers": 0,
}


def start(log_dir: Path, kind: str, *argv: str, code: int = 0, **net: Any) -> Path:
    settings = TINY | {"net.kind": kind} | {f"net.{key}": value for key, value in net.items()}
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    where = ["--config", str(CONFIG / "mt3.json"), "--id", "x", "--log_dir", str(log_dir)]
    assert main("sac", [*where, *sets, "--device", "cpu", *argv], multi_task=True) == code
    return log_dir / "x" / "MT3" / "1"


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_goes_on_as_if_it_had_not_stopped_and_begins_others(
    kind: str, tmp_path: Path
) -> None:
    whole = start(tmp_path / "whole", kind)
    start(tmp_path / "parts", kind, "--until", "60")
    parts = start(tmp_path / "parts", kind, "--resume")
    assert_same_run(parts, whole)

    other = start(tmp_path / "other", kind, "--init_from", str(whole), "--until", "30")
    mine = complete_state(other)["learner"]["networks"]
    best = torch.load(whole / "checkpoint" / "best.pt", weights_only=True)["networks"]
    assert mine.keys() == best.keys()
    assert [name for name in mine if not torch.equal(mine[name], best[name])] == []

    policy = load_policy(whole / "policy.safetensors")
    played, _ = evaluate(policy, [0, 2], episodes=1, seed=1, workers=0)
    assert [(one.task, one.lengths) for one in played] == [
        ("reach-v3", [15]),
        ("pick-place-v3", [15]),
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("argv", "net", "message"),
    [
        (['env.tasks=["reach-v3"]', "env.num_envs=1"], {}, 'net.kind: "{}" needs several tasks'),
        ([], {"residual": "true"}, 'net.residual: is not for kind "{}"'),
        ([], {"task_input": "embedding"}, "net.task_input: \"embedding\" is not for kind '{}'"),
    ],
    ids=["one task", "residual", "embedding"],
)
def test_what_makes_no_sense_is_one_line(
    kind: str,
    argv: list[str],
    net: dict[str, Any],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sets = [part for text in argv for part in ("--set", text)]
    start(tmp_path, kind, *sets, code=2, **net)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message.format(kind) in error


def test_more_experts_than_units_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(tmp_path, "moore", code=2, **{"moore.num_experts": 9})
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "net.moore.num_experts: 9 representations of 8 numbers cannot be orthogonal" in error
