"""Runs with multi-task networks and with combined gradients: resume, transfer and play."""

from pathlib import Path

import pytest
import torch
from helpers import complete_state
from tiny_runs import ROOT, SHORT, assert_same_run, sets

from torchrl_lite.command.launch import main
from torchrl_lite.policies.evaluate import evaluate
from torchrl_lite.policies.load import load_policy

FIELDS = SHORT | {
    "net.norm": "layer",
    "net.critic.kind": "hl_gauss",
    "net.critic.bins": 11,
    "train.batch_size": 6,
    "train.opt_steps": 1,
    "train.eval_interval": 2,
}


def start(log_dir: Path, kind: str, *argv: str) -> Path:
    where = ["--config", str(ROOT / "config" / "mt3.json"), "--id", "x", "--log_dir", str(log_dir)]
    kind, _, gradients = kind.partition("-")
    fields = sets(FIELDS | {"net.kind": kind, "train.gradients": gradients or "mean"})
    assert main("sac", [*where, *fields, "--device", "cpu", *argv], multi_task=True) == 0
    return log_dir / "x" / "MT3" / "1"


@pytest.mark.parametrize(
    "kind",
    [
        "care",
        "multihead-gradnorm",
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("paco", "moore", "film", "mlp-pcgrad", "mlp-cagrad", "mlp-famo")
        ),
    ],
)
def test_a_run_resumes_bit_identically_transfers_and_plays(kind: str, tmp_path: Path) -> None:
    whole = start(tmp_path / "whole", kind)
    start(tmp_path / "parts", kind, "--until", "60")
    assert_same_run(start(tmp_path / "parts", kind, "--resume"), whole)
    combined = complete_state(whole)["learner"]["gradients"]
    assert bool(combined) == ("-" in kind)  # the run uses the method it was given

    other = start(tmp_path / "other", kind, "--init_from", str(whole), "--until", "30")
    mine = complete_state(other)["learner"]["networks"]
    best = torch.load(whole / "checkpoint" / "best.pt", weights_only=True)["networks"]
    assert mine.keys() == best.keys()
    assert [name for name in mine if not torch.equal(mine[name], best[name])] == []

    policy = load_policy(whole / "policy.safetensors")
    played, _ = evaluate(policy, [0, 2], episodes=1, seed=1, workers=0)
    assert [one.task for one in played] == ["reach-v3", "pick-place-v3"]
