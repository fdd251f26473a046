"""Runs that start from other runs: what is transferred, the recorded origin, and resuming."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import complete_state, newest_checkpoint
from tiny_runs import TINY, one_line, result_of, sets
from torch import nn

from torchrl_lite.command.launch import main

TASK = "Pendulum-v1"
FIELDS = TINY | {
    "env.suite": "gymnasium",
    "env.tasks": [TASK],
    "net.hidden_shapes": [16, 12],
    "train.num_epochs": 2,
    "train.opt_steps": 4,
}


class Runs:
    """Runs in one log directory, each named by its experiment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self, name: str, *flags: str, algo: str = "sac", code: int = 0, **settings: Any
    ) -> Path:
        """``settings`` are fields of ``transfer``, except those with ``__`` in their name."""
        own = {
            key.replace("__", ".") if "__" in key else f"transfer.{key}": value
            for key, value in settings.items()
        }
        where = ["--log_dir", str(self.folder), "--id", name, "--device", "cpu"]
        assert main(algo, [*where, *sets(FIELDS | own), *flags]) == code
        return self.folder / name / TASK / "1"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to start from; read-only."""
    return Runs(tmp_path_factory.mktemp("first"))("first")


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def networks_of(path: Path) -> dict[str, torch.Tensor]:
    state = torch.load(path, weights_only=True)
    return state.get("learner", state)["networks"]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def cloned_policy(folder: Path) -> Path:
    net = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 1))
    torch.save(net.state_dict(), folder / "clone.pt")
    return folder / "clone.pt"


def init_from(path: Path) -> tuple[str, str]:
    return "--init_from", str(path)


@pytest.mark.parametrize("algo", ["sac", "td3", "ddpg"])
def test_a_run_starts_with_all_networks_of_another(algo: str, runs: Runs) -> None:
    first = runs("first", algo=algo)
    second = runs("second", *init_from(first), algo=algo, train__num_epochs=0)
    best = networks_of(first / "checkpoint" / "best.pt")
    mine = networks_of(newest_checkpoint(second))
    assert mine.keys() == best.keys()
    assert all(torch.equal(mine[name], best[name]) for name in mine)


def test_learning_rates_are_reduced_unless_set(
    first: Path, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    def rates(run: Path) -> set[float]:
        optimizers = torch.load(newest_checkpoint(run), weights_only=True)["learner"]["optimizers"]
        return {state["param_groups"][0]["lr"] for state in optimizers.values()}

    assert rates(first) == {3e-4}
    assert rates(runs("second", *init_from(first))) == {0.3 * 3e-4}
    output = capsys.readouterr().out
    assert "learning rates times 0.3" in output
    assert "loaded: actor.body.trunk.layers.0.weight, " in output
    assert rates(runs("third", *init_from(first), lr_multiplier=1)) == {3e-4}


def stored_rows(run: Path) -> list[torch.Tensor]:
    return complete_state(run)["buffer"]["data"]


def test_transitions_are_transferred_on_request(first: Path, runs: Runs) -> None:
    settings = {"train__num_epochs": 0, "train__pretrain_epochs": 0}
    without = runs("without", *init_from(first), **settings)
    assert len(stored_rows(without)[0]) == 0

    second = runs("second", *init_from(first), load=["actor", "buffer"], **settings)

    (rows,) = stored_rows(first)
    rows[:, -1] = 1  # none continues in the next
    assert torch.equal(stored_rows(second)[0], rows)
    assert "origin" not in result_of(first)
    (origin,) = result_of(second)["origin"]
    assert origin["parts"] == ["actor", "buffer"]
    assert origin["buffer"] == {
        "file": str(newest_checkpoint(first)),
        "sha256_of_manifest": sha256(newest_checkpoint(first).with_suffix(".json")),
        "transitions": {TASK: 30},
    }


def test_transferred_rewards_keep_their_scale(runs: Runs) -> None:
    """A new scale would start from the rewards of an untrained policy."""
    settings = {"env__reward_normalization": "return"}
    source = runs("source", **settings)
    no_epochs = {"train__num_epochs": 0, "train__pretrain_epochs": 0}
    second = runs("second", *init_from(source), load=["buffer"], **settings, **no_epochs)
    largest = [complete_state(run)["reward_scale"]["largest"] for run in (source, second)]
    assert torch.equal(*largest) and largest[0] > 0


def test_the_chain_of_runs_is_recorded(runs: Runs, tmp_path: Path) -> None:
    file = cloned_policy(tmp_path)
    b = runs("b", *init_from(file), algo="td3")
    a = runs("a", *init_from(b), algo="td3", load=["actor", "critic"])
    policy = a / "policy.safetensors"
    to_a, *rest = result_of(runs("last", *init_from(policy), algo="td3"))["origin"]

    to_b, to_file = result_of(a)["origin"]

    best = b / "checkpoint" / "best.pt"
    assert (to_b["path"], to_b["file"], to_b["sha256"]) == (str(b), str(best), sha256(best))
    assert to_b["frames"] == torch.load(best, weights_only=True)["frames"] == 20
    assert to_b["parts"] == ["actor", "critic"]
    assert (to_b["tasks"], to_file["tasks"]) == ({TASK: TASK}, {})
    assert "critic.body.head.weight" in to_b["loaded"]
    assert to_b["skipped"] == to_b["mismatched"] == []
    assert (to_file["path"], to_file["sha256"]) == (str(file), sha256(file))
    assert (to_file["frames"], to_file["parts"]) == (None, ["actor"])
    assert result_of(b)["origin"] == [to_file]
    for name in ("best.pt", newest_checkpoint(a).name):
        state = torch.load(a / "checkpoint" / name, weights_only=True)
        assert state["origin"] == [to_b, to_file]
    assert json.loads((a / "params.json").read_text())["transfer"]["init_from"] == str(b)
    assert (to_a["path"], to_a["frames"], to_a["parts"]) == (str(policy), 30, ["actor"])
    assert rest == [to_b, to_file]


def test_resume_with_another_source_is_rejected(
    first: Path, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    runs("second", *init_from(first), "--until", "10")
    runs("second", *init_from(first / "checkpoint" / "best.pt"), "--resume", code=2)
    assert "transfer.init_from: the run in" in capsys.readouterr().err
    (link,) = result_of(runs("second", "--resume"))["origin"]
    assert link["path"] == str(first)


@pytest.fixture
def rejection(runs: Runs, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The error that rejects a run with these flags and settings and leaves no files."""

    def rejection(*flags: str, **settings: Any) -> str:
        run = runs("refused", *flags, code=2, **settings)
        assert not run.parents[1].exists()
        one_line(error := capsys.readouterr().err)
        return error

    return rejection


def test_a_plain_file_has_no_critic(tmp_path: Path, rejection: Callable[..., str]) -> None:
    file = cloned_policy(tmp_path)
    line = rejection(*init_from(file), load=["actor", "critic"])
    assert f"error: transfer.load: {file} holds no critic" in line


def test_a_requested_part_must_fit(runs: Runs, rejection: Callable[..., str]) -> None:
    first = runs("first", algo="ddpg")  # one critic
    line = rejection(*init_from(first), load=["actor", "critic"], algo="td3")
    assert "fits the critic (" in line
    run = runs("told", *init_from(first), algo="td3")  # not requested: a mismatch is only reported
    assert result_of(run)["origin"][0]["parts"] == ["actor"]


def test_networks_of_other_widths_are_rejected(first: Path, rejection: Callable[..., str]) -> None:
    """Although their last biases would fit."""
    line = rejection(*init_from(first), net__hidden_shapes=[20, 24])
    assert "error: --init_from: nothing in" in line and "fits the actor (" in line
    assert "actor.body.head.bias (of no use alone)" in line


@pytest.mark.parametrize("from_a_run", [False, True])
def test_optional_weights_need_not_fit(
    from_a_run: bool, first: Path, runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The temperature of a run fits any network, but does not reduce learning rates."""
    source = first if from_a_run else cloned_policy(tmp_path)
    run = runs("x", *init_from(source), optional=True, net__hidden_shapes=[20, 24])
    output = capsys.readouterr().out
    assert "warning: nothing in" in output and "learning rates times" not in output
    assert ("training starts from scratch" in output) != from_a_run
    parts = [link["parts"] for link in result_of(run).get("origin", [])]
    assert parts == ([["alpha"]] if from_a_run else [])


def test_settings_without_a_source_are_rejected(rejection: Callable[..., str]) -> None:
    assert "error: transfer: needs a source" in rejection(lr_multiplier=0.5)


def test_the_map_must_name_existing_tasks(first: Path, rejection: Callable[..., str]) -> None:
    line = rejection(*init_from(first), task_map={TASK: "Pendulun-v1"})
    assert "transfer.task_map: 'Pendulun-v1' is not a task of" in line
    assert "did you mean 'Pendulum-v1'?" in line
    line = rejection(*init_from(first), task_map={"Pendulun-v1": TASK})
    assert "transfer.task_map: 'Pendulun-v1' is not in env.tasks; did you mean" in line


def test_a_checkpoint_of_an_earlier_version_can_be_a_source(
    first: Path, tmp_path: Path, runs: Runs
) -> None:
    state = torch.load(first / "checkpoint" / "best.pt", weights_only=True)
    old = {key: state[key] for key in ("networks", "frames", "config")}
    torch.save(old, tmp_path / "best.pt")
    run = runs("second", *init_from(tmp_path / "best.pt"), train__num_epochs=0)
    assert result_of(run)["origin"][0]["parts"] == ["actor", "critic", "alpha"]
