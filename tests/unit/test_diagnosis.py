"""Every broken run is diagnosed by its own rule first; healthy runs have no findings."""

from pathlib import Path

import pytest
from broken_runs import (
    FLAT,
    GOOD,
    LOGS,
    REAL,
    STUCK_IN_AN_OPTIMUM,
    Log,
    RealRun,
    rules_found,
    train,
    write,
)
from tiny_runs import ROOT, run_starter

from torchrl_lite.analysis.diagnosis import rules
from torchrl_lite.analysis.diagnosis.evidence import Evidence
from torchrl_lite.analysis.diagnosis.rules import RULES, diagnose
from torchrl_lite.analysis.runs import Run
from torchrl_lite.config import flat, read_tree


@pytest.mark.parametrize("case", LOGS.values(), ids=LOGS)
def test_a_handwritten_log_is_diagnosed_by_its_rule_first(case: Log, tmp_path: Path) -> None:
    findings = diagnose(Evidence.of(Run(write(case, tmp_path / "x"))))
    assert [name for name, _ in findings[:1]] == ([case.rule] if case.rule else [])
    assert not case.text or case.text in findings[0][1].problem


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", REAL.values(), ids=REAL)
def test_a_real_run_is_diagnosed_by_its_rule_first(case: RealRun, tmp_path: Path) -> None:
    assert rules_found(train(case, tmp_path))[:1] == ([case.rule] if case.rule else [])


@pytest.mark.parametrize("folder", GOOD, ids=lambda folder: "-".join(folder.parts[-3:]))
def test_a_healthy_run_has_no_findings(folder: Path) -> None:
    assert rules_found(folder) == []


def test_a_run_in_a_local_optimum_is_recognized() -> None:
    ((name, finding),) = diagnose(Evidence.of(Run(STUCK_IN_AN_OPTIMUM)))
    assert name == "local_optimum"
    assert "env.noise_spread" in finding.advice
    assert "env.noise_repeat" not in finding.advice, "already in use"


@pytest.mark.parametrize("others", [[], ["reach-v3"]])
def test_advice_mentions_a_wrong_task_id_only_with_several_tasks(
    others: list[str], tmp_path: Path
) -> None:
    fields = {"env.tasks": ["push-v3", *others], "env.num_envs": 2, "train.batch_size": 512}
    ((name, finding),) = diagnose(Evidence.of(Run(write(Log(FLAT, None, fields), tmp_path / "x"))))
    assert name == "no_learning"
    assert ("wrong id" in finding.advice) == bool(others)


ENTROPY = ["stuck at the grasp", "noise ruins training", "evaluation fails", "one task dominates"]


@pytest.mark.parametrize("name", ENTROPY)
@pytest.mark.parametrize("algo", ["sac", "td3"])
def test_only_sac_gets_advice_about_the_entropy(name: str, algo: str, tmp_path: Path) -> None:
    case = LOGS[name]._replace(fields={**LOGS[name].fields, "algo": algo})
    findings = dict(diagnose(Evidence.of(Run(write(case, tmp_path / "x")))))
    assert case.rule
    assert ("sac." in findings[case.rule].advice) == (algo == "sac")


def test_every_rule_has_a_broken_run() -> None:
    rules = {case.rule for case in (*LOGS.values(), *REAL.values())} - {None}
    assert rules == {rule.__name__ for rule in RULES}


def test_shipped_configurations_have_no_findings(tmp_path: Path) -> None:
    """Judged by their settings alone: the log is that of a run that learns."""
    for path in sorted((ROOT / "config").rglob("*.json")):
        tree = read_tree(path)
        if "methods" in tree:
            continue  # a plan of several runs
        fields = {"env.tasks": ["push-v3"]} | flat(tree) | {"train.pretrain_epochs": 1}
        folder = write(Log({}, None, fields), tmp_path / "_".join(path.parts[-2:]))
        assert rules_found(folder) == [], path


def test_the_starter_reports_the_problem_and_what_to_try(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(LOGS["nothing is learned"], tmp_path / "e" / "push-v3" / "1")
    assert run_starter("diagnose", tmp_path) == 1
    first, _, finding, advice, *_ = capsys.readouterr().out.splitlines()
    assert first.endswith("41 epochs, 20,500 frames, 20,000 updates, success 0, return 30")
    assert finding.startswith("1. Nothing was learned: the return is 30 after 20,000 updates")
    assert advice.startswith("   Try: ")

    write(LOGS["nothing"], tmp_path / "good")
    assert run_starter("diagnose", tmp_path / "good") == 0
    assert f"nothing found by {len(RULES)} rules" in capsys.readouterr().out


def test_the_starter_runs_every_rule_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []
    monkeypatch.setattr(rules, "RULES", [lambda run: calls.append(run.path)])
    folder = write(LOGS["nothing"], tmp_path / "x")
    assert run_starter("diagnose", folder) == 0
    assert calls == [folder]


def test_a_run_with_only_random_actions_is_too_early_to_diagnose(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Log({}, None, {"train.pretrain_epochs": 50}), tmp_path / "x")
    assert run_starter("diagnose", tmp_path / "x") == 0
    assert "too early to tell" in capsys.readouterr().out
