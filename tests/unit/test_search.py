"""Searches with simulated runs: what is proposed, pruned, resumed and reported."""

import csv
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from helpers import error_of
from tiny_runs import ROOT, one_line

from torchrl_lite.checkpoint.lock import locked
from torchrl_lite.checkpoint.traces import NOT_FINITE
from torchrl_lite.command.flags import parse
from torchrl_lite.command.options import request, resolve
from torchrl_lite.config import parse_override
from torchrl_lite.config.extras import import_extra
from torchrl_lite.sweep import command
from torchrl_lite.sweep.plan import STARTERS
from torchrl_lite.sweep.runner import Signals
from torchrl_lite.sweep.search import command as search_command
from torchrl_lite.sweep.search import report
from torchrl_lite.sweep.trial import Outcome, Trial

optuna = pytest.importorskip("optuna", reason="the extra [search] is not installed")
JournalFileBackend = optuna.storages.journal.JournalFileBackend
PENDULUM = str(ROOT / "config" / "mujoco" / "pendulum.json")
EVALUATIONS = 9
Formula = Callable[[dict[str, Any]], float]


def setting_of(trial: Trial) -> dict[str, Any]:
    texts = [text for flag, text in pairwise(trial.argv) if flag == "--set"]
    return {".".join(path): value for path, value in map(parse_override, texts)}


class FakeRunner:
    """Each poll adds an evaluation to up to ``jobs`` runs, in the end the final one."""

    def __init__(self, formula: Formula, jobs: int) -> None:
        self._formula, self._jobs = formula, jobs
        self._waiting: list[Trial] = []
        self.fails: Callable[[Trial], bool] = lambda _: False
        self.cancelled: list[str] = []

    @property
    def busy(self) -> bool:
        return bool(self._waiting)

    def slots(self, **_: object) -> int:
        return self._jobs

    def submit(self, trials: list[Trial], **_: object) -> None:
        self._waiting += trials

    def finished(self, _seconds: float) -> list[tuple[Trial, Outcome]]:
        found = []
        for trial in self._waiting[: self._jobs]:
            if self.fails(trial):
                found.append((trial, Outcome(1, "error: it failed")))
            elif self._evaluate(trial) > EVALUATIONS:
                found.append((trial, Outcome(0, "")))
        for trial, _ in found:
            self._waiting.remove(trial)
        return found

    def _evaluate(self, trial: Trial) -> int:
        trial.folder.mkdir(parents=True, exist_ok=True)
        if not (trial.folder / "params.json").exists():
            config = request(parse("sac", trial.argv, multi_task=False), "sac", multi_task=False)
            text = resolve(config.config).model_dump_json()
            (trial.folder / "params.json").write_text(text)
            (trial.folder / "log.csv").write_text(
                "epoch,total_frames,time/cpu_s,eval_success/Pendulum-v1,eval_return/Pendulum-v1\n"
            )
        epoch = len((trial.folder / "log.csv").read_text().splitlines())
        success = self._formula(setting_of(trial))
        if epoch <= EVALUATIONS:
            frames = -(-trial.total_frames * epoch // EVALUATIONS)
            with (trial.folder / "log.csv").open("a") as file:
                file.write(f"{epoch},{frames},60,{success},1\n")
        else:
            result = {"frames": 1, "epochs": 100, "eval_success/Pendulum-v1": success}
            text = json.dumps(result | {"eval_return/Pendulum-v1": 1.0})
            (trial.folder / "result.json").write_text(text)
        return epoch

    def node_of(self, _folder: Path) -> str:
        return "here"

    def stop(self, **_: object) -> None:
        self._waiting.clear()

    def cancel(self, trial: Trial) -> None:
        self.cancelled.append(trial.name)
        self._waiting = [other for other in self._waiting if other != trial]


class Searches:
    """Calls the command in one folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.out = folder, folder / "out"
        self.runner = FakeRunner(lambda setting: setting["sac.tau"], 1)
        self.signals = Signals()
        monkeypatch.setattr(search_command, "running", self._running)

    @contextmanager
    def _running(self, _args: object) -> Iterator[tuple[FakeRunner, Signals]]:
        self.runner._waiting.clear()
        yield self.runner, self.signals
        self.signals = Signals()

    def __call__(self, space: dict[str, Any], *argv: str) -> int:
        path = self.folder / "space.json"
        path.write_text(json.dumps(space))
        flags = ["--search", str(path), "--out", str(self.out), "--starter", "st_sac"]
        return command.main([*flags, "--config", PENDULUM, *argv])

    @property
    def trials(self) -> list[Any]:
        backend = JournalFileBackend(str(self.out / "study.journal"))
        storage = optuna.storages.JournalStorage(backend)
        return optuna.load_study(study_name=None, storage=storage).get_trials()

    @property
    def states(self) -> list[str]:
        return [trial.state.name for trial in self.trials]

    def epochs(self, number: int) -> list[str]:
        log = self.out / f"trial_{number:04d}" / "Pendulum-v1" / "1" / "log.csv"
        with log.open(newline="") as file:
            return [row["epoch"] for row in csv.DictReader(file)]


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Searches:
    """Without plots, which are slow."""
    monkeypatch.setattr(report, "_pictures", lambda *_: [])
    return Searches(tmp_path, monkeypatch)


ALL_EPOCHS = [str(epoch + 1) for epoch in range(EVALUATIONS)]
TAU = {"sac.tau": [0.3, 0.9, 0.5]}
GRID = ["--sampler", "grid"]


def test_a_grid_search_writes_a_best_configuration_for_every_starter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    search = Searches(tmp_path, monkeypatch)
    assert search(TAU, *GRID, "--set", "system.matmul_precision=medium") == 0
    out, err = capsys.readouterr()
    assert "the best is trial_0001" in out
    note = "Over tasks: the mean. Over seeds: the mean."
    assert note in out
    assert note in (search.out / "trials.md").read_text()
    assert err == ""
    assert search.states == ["COMPLETE"] * 3
    with (search.out / "trials.csv").open(newline="") as file:
        rows = [(row["trial"], row["success"], row["sac.tau"]) for row in csv.DictReader(file)]
    assert rows == [
        ("trial_0001", "0.9", "0.9"),
        ("trial_0002", "0.5", "0.5"),
        ("trial_0000", "0.3", "0.3"),
    ]
    for name in ("history", "curves", "importance"):
        assert (search.out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    for starter in STARTERS:
        kind, _, algo = starter.partition("_")
        argv = ["--config", str(search.out / "best.json"), "--log_dir", str(search.folder / "new")]
        own = parse(algo, argv, multi_task=kind == "mt")
        config = request(own, algo, multi_task=kind == "mt").config
        assert config.env.tasks == ["Pendulum-v1"]
        assert config.train.num_epochs == 95
        assert config.system.matmul_precision == "medium"
        if algo == "sac":
            assert config.agent.tau == 0.9


def test_more_trials_can_be_added_and_none_is_repeated(search: Searches) -> None:
    space = {"sac.tau": {"low": 0, "high": 1}}
    assert search(space, "--trials", "2", "--sampler", "random") == 0
    first = [trial.params for trial in search.trials]
    assert search(space, "--trials", "4", "--sampler", "random") == 0
    assert [trial.params for trial in search.trials][:2] == first
    taus = [trial.params["sac.tau"] for trial in search.trials]
    assert len(set(taus)) == 4
    assert all(search.epochs(number) == ALL_EPOCHS for number in range(4))


def test_tpe_searches_near_the_best(search: Searches) -> None:
    """After ten random trials, whose scores it knows."""
    search.runner = FakeRunner(lambda setting: 1 - abs(setting["sac.tau"] - 0.3), 1)
    space = {"sac.tau": {"low": 0, "high": 1}}
    assert search(space, "--trials", "16", "--pruner", "none") == 0
    distances = [abs(trial.params["sac.tau"] - 0.3) for trial in search.trials]
    assert sum(distances[10:]) / 6 < sum(distances[:10]) / 10 / 2


@pytest.mark.parametrize("pruner", ["median", "hyperband", "none"])
def test_only_hopeless_trials_are_pruned(
    search: Searches, pruner: str, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {"sac.tau": [0.9, 0.8, 0.7, 0.6, 0.5, 0.1, 0.95]}
    assert search(space, *GRID, "--pruner", pruner) == 0
    pruned = [number for number, state in enumerate(search.states) if state == "PRUNED"]
    if pruner == "hyperband":  # depends on the brackets, but never the best so far
        assert pruned and not {0, 6} & {*pruned}
    else:
        assert pruned == {"median": [5], "none": []}[pruner]
    assert search.runner.cancelled == [f"trial_{n:04d}/Pendulum-v1/1" for n in pruned]
    out = capsys.readouterr().out
    for number in range(7):
        was_pruned = number in pruned
        assert (search.epochs(number) == ALL_EPOCHS) != was_pruned
        assert (f"trial_{number:04d}: stopped after" in out) == was_pruned
    if pruner == "median":
        assert "trial_0005: stopped after 33% of its budget" in out  # not earlier
    assert "the best is trial_0006" in out


def test_a_trial_that_used_its_whole_budget_is_not_pruned(search: Searches) -> None:
    """Even if it gets worse at the end: only its final evaluation is missing."""
    before = EVALUATIONS - 1
    scores = iter([0.6] * (before + 2) + [0.7] * before + [0.1] * 2)
    search.runner = FakeRunner(lambda _: next(scores), 1)
    assert search({"sac.tau": [0.6, 0.7]}, *GRID, "--pruner", "hyperband") == 0
    assert search.states == ["COMPLETE"] * 2


def test_a_setting_proposed_again_reuses_its_score(
    search: Searches, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(TAU, "--sampler", "random", "--trials", "6") == 0
    assert search.states == ["COMPLETE"] * 6
    settings = [trial.params["sac.tau"] for trial in search.trials]
    assert settings == [str(trial.user_attrs["success"]) for trial in search.trials]
    made = len(set(settings))
    assert len([*search.out.glob("trial_*/")]) == made < 6
    assert capsys.readouterr().out.count(" again\n") == 6 - made


def test_an_interrupted_search_reports_the_trials_so_far(
    search: Searches, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop_in_the_second_trial(trial: Trial) -> bool:
        if setting_of(trial)["sac.tau"] == 0.9:
            search.signals.seen = signal.SIGINT
        return False

    search.runner.fails = stop_in_the_second_trial
    assert search(TAU, *GRID) == 128 + signal.SIGINT
    out, err = capsys.readouterr()
    one_line(err, "stopped by SIGINT; the same command continues")
    assert "the best is trial_0000" in out
    assert "| trial_0001 | unfinished |" in out
    assert (search.out / "best.json").exists()
    search.runner.fails = lambda _: False
    assert search(TAU, *GRID) == 0
    assert "the best is trial_0001" in capsys.readouterr().out


def test_a_failed_run_is_retried_by_the_next_call(
    search: Searches, capsys: pytest.CaptureFixture[str]
) -> None:
    search.runner.fails = lambda trial: setting_of(trial)["sac.tau"] == 0.9
    assert search(TAU, *GRID) == 1
    out, err = capsys.readouterr()
    one_line(err, "trial_0001/Pendulum-v1/1 failed (1): error: it failed")
    assert "the best is trial_0002" in out
    assert "| trial_0001 | unfinished |" in out
    search.runner.fails = lambda _: False
    run = search.out / "trial_0001" / "Pendulum-v1" / "1"
    run.mkdir(parents=True)
    (run / "params.json").write_text("")  # as left by a full disk
    assert search(TAU, *GRID) == 2
    one_line(capsys.readouterr().err, "trial_0001/Pendulum-v1/1/params.json: not valid JSON")
    (run / "params.json").unlink()
    assert search(TAU, *GRID) == 0
    assert search.states == ["COMPLETE"] * 3
    assert all(search.epochs(number) == ALL_EPOCHS for number in range(3))


def test_a_diverged_trial_is_pruned_and_ranked_last(
    search: Searches, capsys: pytest.CaptureFixture[str]
) -> None:
    """A resumed run would diverge again, so the next call does not retry it."""

    def diverges(trial: Trial) -> bool:
        if setting_of(trial)["sac.tau"] != 0.9:
            return False
        trial.folder.mkdir(parents=True)
        (trial.folder / NOT_FINITE).touch()
        return True

    search.runner.fails = diverges
    assert search(TAU, *GRID) == 0
    out, err = capsys.readouterr()
    one_line(err, "trial_0001/Pendulum-v1/1 failed (1): error: it failed")
    assert "the best is trial_0002" in out
    assert "| trial_0001 | stopped | - | - |" in out
    assert search(TAU, *GRID) == 0
    assert search.states == ["COMPLETE", "PRUNED", "COMPLETE"]


def test_invalid_combinations_are_left_out(
    search: Searches, capsys: pytest.CaptureFixture[str]
) -> None:
    search.runner = FakeRunner(lambda _: 0.0, 2)
    space = {"net.residual": [False, True], "net.hidden_shapes": [[8, 8], [8, 16]]}
    assert search(space, *GRID) == 0
    out, err = capsys.readouterr()
    one_line(err, "trial_0003: left out", "residual layers need equal widths")
    assert search.states == ["COMPLETE"] * 3 + ["FAIL"]
    assert "no trial had a success" in out


def test_another_search_in_the_same_folder_is_rejected(
    search: Searches, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(TAU, *GRID, "--trials", "1") == 0
    assert search.states == ["COMPLETE"]
    for space, argv, flag in (
        ({"sac.tau": [0.3]}, GRID, "--search"),
        (TAU, [*GRID, "--set", "sac.qlr=0.1"], "--set"),
        (TAU, ["--trials", "3"], "--sampler"),
    ):
        capsys.readouterr()
        assert search(space, *argv) == 2
        one_line(capsys.readouterr().err, flag, "use another --out")
    with locked(search.out):
        assert search(TAU, *GRID) == 1
    one_line(capsys.readouterr().err, str(search.out))
    (search.out / "study.journal").write_text("{}\n")
    assert search(TAU, *GRID) == 2
    one_line(capsys.readouterr().err, "study.journal: is damaged")


def test_without_optuna_the_error_says_how_to_install_it(
    search: Searches, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert search(TAU, *GRID) == 2
    one_line(capsys.readouterr().err, "pip install -e '.[search]'")


def test_an_extra_that_lacks_a_package_of_its_own_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "halved.py").write_text("import no_such_dependency")
    monkeypatch.syspath_prepend(tmp_path)
    message = error_of(import_extra, "halved", "search", needed_by="--search")
    assert "halved cannot be imported (No module named 'no_such_dependency')" in message


def test_core_minutes_end_a_run(search: Searches) -> None:
    """Each epoch takes one core minute."""
    assert search(TAU, *GRID, "--core_minutes", "2") == 0
    assert search.states == ["COMPLETE"] * 3
    assert all(search.epochs(number) == ["1", "2"] for number in range(3))
    assert search.runner.cancelled == [f"trial_{n:04d}/Pendulum-v1/1" for n in range(3)]


# --- a sweep without a search --------------------------------------------------------------------


def test_a_failed_run_of_a_sweep_is_reported_and_others_continue(
    search: Searches, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "running", search._running)
    search.runner.fails = lambda trial: setting_of(trial)["sac.tau"] == 0.9
    argv = ["--starter", "st_sac", "--config", PENDULUM, "--grid", "sac.tau=[0.3,0.9]"]
    assert command.main([*argv, "--log_dir", str(search.out)]) == 1
    out, err = capsys.readouterr()
    one_line(err, "pendulum-sac.tau_0.9/Pendulum-v1/1 failed (1): error: it failed")
    assert "| pendulum-sac.tau_0.3 | Pendulum-v1 | 1 |" in out
    assert "Left out, because they failed: pendulum-sac.tau_0.9/Pendulum-v1/1." in out
    assert "tau_0.9" not in (search.out / "sweep" / "results.csv").read_text()


# --- killed searches -----------------------------------------------------------------------------


class Kill(BaseException):
    """Caught by nothing, like a real kill."""


class StudyWrites:
    """Counts writes to the study and kills at one of them: before, within or after its line."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.at, self.how = 0, -1, ""
        write = JournalFileBackend.append_logs

        def append(backend: Any, logs: list[dict[str, Any]]) -> None:
            self.count += 1
            if self.count - 1 != self.at:
                return write(backend, logs)
            if self.how == "after":
                write(backend, logs)
            if self.how == "middle":
                with Path(backend._file_path).open("a") as file:
                    file.write(json.dumps(logs[0])[:-4])
            raise Kill

        monkeypatch.setattr(JournalFileBackend, "append_logs", append)


@pytest.mark.parametrize(
    ("sampler", "values"), [("tpe", {"low": 0.2, "high": 0.8}), ("grid", [0.2, 0.8])]
)
def test_a_search_killed_at_any_write_loses_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str, values: Any
) -> None:
    monkeypatch.setattr(report, "_pictures", lambda *_: [])
    writes = StudyWrites(monkeypatch)
    space = {"sac.tau": values, "sac.alpha": [0.1]}
    argv = ["--sampler", sampler, "--trials", "2"]

    def new_search(name: str) -> Searches:
        (tmp_path / name).mkdir()
        return Searches(tmp_path / name, monkeypatch)

    full = new_search("whole")
    assert full(space, *argv) == 0
    proposed = [trial.params for trial in full.trials]
    total = writes.count
    assert total > 50
    for number, at in enumerate([*range(6), *range(6, total, 11)]):
        search = new_search(str(at))
        writes.count, writes.at, writes.how = 0, at, ("before", "middle", "after")[number % 3]
        with pytest.raises(Kill):
            search(space, *argv)
        writes.at = -1
        assert search(space, *argv) == 0
        assert search.states == ["COMPLETE"] * 2
        assert [trial.params for trial in search.trials] == proposed
        for trial in search.trials:
            assert search.epochs(trial.number) == ALL_EPOCHS
            assert trial.user_attrs["success"] == float(trial.params["sac.tau"])
        assert len([*search.out.glob("trial_*/")]) == 2
