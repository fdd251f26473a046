"""Runs that start from other runs: what they carry over, where they say they came from, resume."""

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
        """``settings`` are fields of ``transfer``, but for those with a ``__`` in their name."""
        own = {
            key.replace("__", ".") if "__" in key else f"transfer.{key}": value
            for key, value in settings.items()
        }
        where = ["--log_dir", str(self.folder), "--id", name, "--device", "cpu"]
        assert main(algo, [*where, *sets(FIELDS | own), *flags]) == code
        return self.folder / name / TASK / "1"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to start from, which nobody changes."""
    return Runs(tmp_path_factory.mktemp("first"))("first")


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def networks_of(path: Path) -> dict[str, torch.Tensor]:
    state = torch.load(path, weights_only=True)
    return state.get("learner", state)["networks"]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def clone(folder: Path) -> Path:
    net = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 1))
    torch.save(net.state_dict(), folder / "clone.pt")
    return folder / "clone.pt"


def from_(path: Path) -> tuple[str, str]:
    return "--init_from", str(path)


@pytest.mark.parametrize("algo", ["sac", "td3", "ddpg"])
def test_a_run_begins_with_all_networks_of_another(algo: str, runs: Runs) -> None:
    first = runs("first", algo=algo)
    second = runs("second", *from_(first), algo=algo, train__num_epochs=0)
    best = networks_of(first / "checkpoint" / "best.pt")
    mine = networks_of(newest_checkpoint(second))
    assert mine.keys() == best.keys()
    assert all(torch.equal(mine[name], best[name]) for name in mine)


def test_learning_rates_are_smaller_unless_set(
    first: Path, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    def rates(run: Path) -> set[float]:
        optimizers = torch.load(newest_checkpoint(run), weights_only=True)["learner"]["optimizers"]
        return {state["param_groups"][0]["lr"] for state in optimizers.values()}

    assert rates(first) == {3e-4}
    assert rates(runs("second", *from_(first))) == {0.3 * 3e-4}
    told = capsys.readouterr().out
    assert "learning rates times 0.3" in told
    assert "loaded: actor.body.trunk.layers.0.weight, " in told
    assert rates(runs("third", *from_(first), lr_multiplier=1)) == {3e-4}


# --- transitions ----------------------------------------------------------------------------------


def remembered(run: Path) -> list[torch.Tensor]:
    return complete_state(run)["buffer"]["data"]


def carried(rows: torch.Tensor) -> torch.Tensor:
    """As they arrive elsewhere: none goes on in the next one."""
    rows = rows.clone()
    rows[:, -1] = 1
    return rows


def test_transitions_come_along_where_they_are_asked_for(first: Path, runs: Runs) -> None:
    settings = {"train__num_epochs": 0, "train__pretrain_epochs": 0}
    without = runs("without", *from_(first), **settings)
    assert len(remembered(without)[0]) == 0

    second = runs("second", *from_(first), load=["actor", "buffer"], **settings)

    assert "origin" not in result_of(first)
    assert result_of(second)["origin"][0]["parts"] == ["actor", "buffer"]
    assert len(remembered(first)[0]) == 30
    assert torch.equal(remembered(second)[0], carried(remembered(first)[0]))
    assert result_of(second)["origin"][0]["buffer"] == {
        "file": str(newest_checkpoint(first)),
        "sha256_of_manifest": sha256(newest_checkpoint(first).with_suffix(".json")),
        "transitions": {TASK: 30},
    }


def test_carried_rewards_keep_their_scale(runs: Runs) -> None:
    """A new scale would begin with the rewards of an untrained policy."""
    settings = {"env__reward_normalization": "return"}
    source = runs("source", **settings)
    none = {"train__num_epochs": 0, "train__pretrain_epochs": 0}
    second = runs("second", *from_(source), load=["buffer"], **settings, **none)
    largest = [complete_state(run)["reward_scale"]["largest"] for run in (source, second)]
    assert torch.equal(*largest) and largest[0] > 0


# --- where it came from ---------------------------------------------------------------------------


def test_the_chain_of_runs_is_recorded(runs: Runs, tmp_path: Path) -> None:
    file = clone(tmp_path)
    b = runs("b", *from_(file), algo="td3")
    a = runs("a", *from_(b), algo="td3", load=["actor", "critic"])
    policy = a / "policy.safetensors"
    to_a, *rest = result_of(runs("last", *from_(policy), algo="td3"))["origin"]

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


# --- mistakes -------------------------------------------------------------------------------------


def test_going_on_from_another_source_is_a_mistake(
    first: Path, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    runs("second", *from_(first), "--until", "10")
    runs("second", *from_(first / "checkpoint" / "best.pt"), "--resume", code=2)
    assert "transfer.init_from: the run in" in capsys.readouterr().err


Refused = Callable[..., str]


@pytest.fixture
def refused(runs: Runs, capsys: pytest.CaptureFixture[str]) -> Refused:
    """What a run with these flags and settings is refused with, which leaves nothing behind."""

    def refused(*flags: str, **settings: Any) -> str:
        run = runs("refused", *flags, code=2, **settings)
        assert not run.parents[1].exists()
        error = capsys.readouterr().err
        one_line(error)
        return error

    return refused


def test_a_plain_file_has_no_other_part(tmp_path: Path, refused: Refused) -> None:
    file = clone(tmp_path)
    line = refused(*from_(file), load=["actor", "critic"])
    assert f"error: transfer.load: {file} holds no critic" in line


def test_a_part_of_which_nothing_fits_is_a_mistake(runs: Runs, refused: Refused) -> None:
    first = runs("first", algo="ddpg")  # one critic
    line = refused(*from_(first), load=["actor", "critic"], algo="td3")
    assert "fits the critic (" in line
    run = runs("told", *from_(first), algo="td3")  # not asked for: what does not fit is told
    assert result_of(run)["origin"][0]["parts"] == ["actor"]


def test_networks_of_other_widths_are_a_mistake(first: Path, refused: Refused) -> None:
    """Though their last biases would fit."""
    line = refused(*from_(first), net__hidden_shapes=[20, 24])
    assert "error: --init_from: nothing in" in line and "fits the actor (" in line
    assert "actor.body.head.bias ([1, 1, 2] in the file, [1, 1, 2] here)" in line


def test_weights_that_are_optional_need_not_fit(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs("x", *from_(clone(tmp_path)), optional=True, net__hidden_shapes=[20, 24])
    told = capsys.readouterr().out
    assert "warning: nothing in" in told and "learning rates times" not in told
    assert "training starts from scratch" in told
    assert "origin" not in result_of(run)


def test_a_temperature_alone_slows_no_network_down(
    first: Path, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs("x", *from_(first), optional=True, net__hidden_shapes=[20, 24])
    told = capsys.readouterr().out
    assert "warning: nothing in" in told and "learning rates times" not in told
    assert "from scratch" not in told
    assert result_of(run)["origin"][0]["parts"] == ["alpha"]


def test_settings_without_a_source_are_a_mistake(refused: Refused) -> None:
    assert "error: transfer: needs a source" in refused(lr_multiplier=0.5)


def test_the_map_names_tasks_here_and_there(first: Path, refused: Refused) -> None:
    line = refused(*from_(first), task_map={TASK: "Pendulun-v1"})
    assert "transfer.task_map: 'Pendulun-v1' is not a task of" in line
    assert "did you mean 'Pendulum-v1'?" in line
    line = refused(*from_(first), task_map={"Pendulun-v1": TASK})
    assert "transfer.task_map: 'Pendulun-v1' is not in env.tasks; did you mean" in line


def test_a_checkpoint_of_an_earlier_version_is_a_source(
    first: Path, tmp_path: Path, runs: Runs
) -> None:
    state = torch.load(first / "checkpoint" / "best.pt", weights_only=True)
    old = {key: state[key] for key in ("networks", "frames", "config")}
    torch.save(old, tmp_path / "best.pt")
    run = runs("second", *from_(tmp_path / "best.pt"), train__num_epochs=0)
    assert result_of(run)["origin"][0]["parts"] == ["actor", "critic", "alpha"]
