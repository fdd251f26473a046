"""`train` is a starter's run, with and without a directory."""

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import TINY, assert_same_run, result_of, rows_of, run_starter, same_results, tree_of

from torchrl_lite import UserError, load_config, train
from torchrl_lite.command.train import _checked_seed
from torchrl_lite.config import Config

CPU: dict[str, Any] = {"seed": 4, "device": "cpu"}


def config(**changes: Any) -> Config:
    fields = TINY | {"env.tasks": ["reach-v3"], "train.num_epochs": 3, "train.eval_interval": 1}
    fields |= {key.replace("__", "."): value for key, value in changes.items()}
    return load_config(tree_of(fields))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a training that nobody stopped."""
    folder = tmp_path_factory.mktemp("train") / "x" / "reach-v3" / "4"
    train(config(), run_dir=folder, **CPU)
    return folder


def timeless(result: dict[str, Any]) -> dict[str, Any]:
    return result | {"wall_time_s": 0}


def test_it_is_the_run_of_a_starter(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(config().model_dump(mode="json")))
    flags = ("--config", path, "--seed", 4, "--device", "cpu", "--log_dir", tmp_path)
    assert run_starter("st_sac", *flags) == 0
    theirs = tmp_path / "tiny" / "reach-v3" / "4"
    assert_same_run(whole, theirs)
    assert same_results(whole, theirs)
    names = [{p.name.partition("tfevents")[0] for p in run.rglob("*")} for run in (whole, theirs)]
    assert names[0] == names[1]


def test_without_a_directory_it_is_the_same_and_leaves_nothing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    rows: list[dict[str, Any]] = []
    result = train(config(), callback=rows.append, **CPU)
    assert timeless(result) == timeless(result_of(whole))
    assert [row["total_frames"] for row in rows] == [10, 20, 30, 40]
    assert [str(row["eval/return"]) for row in rows] == [r["eval/return"] for r in rows_of(whole)]
    assert all(row["time/cpu_s"] > 0 and row["time/total_s"] > 0 for row in rows)
    assert not [*tmp_path.iterdir()]
    assert capfd.readouterr() == ("", "")
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_callback_ends_the_run_with_a_result(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    rows: list[dict[str, Any]] = []

    def solved(row: dict[str, Any]) -> bool:
        rows.append({name: str(value) for name, value in row.items() if value is not None})
        return row["epoch"] == 2

    result = train(config(), run_dir=folder, callback=solved, **CPU)
    assert rows == [{name: cell for name, cell in row.items() if cell} for row in rows_of(folder)]
    assert (result["epochs"], result["frames"]) == (2, 20)
    assert isinstance(result["eval/return"], float)
    assert timeless(result_of(folder)) == timeless(result)
    assert (folder / "policy.safetensors").exists()
    assert "continue with --resume" not in capsys.readouterr().out
    again = train(config(), run_dir=folder, resume=True, **CPU)  # the rest, bit for bit
    assert_same_run(folder, whole)
    assert timeless(again) == timeless(result_of(whole))


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit), (signal.SIGHUP, SystemExit)],
)
def test_a_signal_leaves_a_checkpoint(
    whole: Path, tmp_path: Path, number: signal.Signals, error: type[BaseException]
) -> None:
    def interrupt(row: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            os.kill(os.getpid(), number)

    with pytest.raises(error) as caught:
        train(config(), run_dir=tmp_path / "run", callback=interrupt, **CPU)
    if error is SystemExit:
        assert caught.value.code == 128 + number
    assert not (tmp_path / "run" / "result.json").exists()
    train(config(), run_dir=tmp_path / "run", resume=True, **CPU)
    assert_same_run(tmp_path / "run", whole)


def test_it_works_in_another_thread(whole: Path, tmp_path: Path) -> None:
    results: list[dict[str, Any]] = []
    work = threading.Thread(
        target=lambda: results.append(train(config(), run_dir=tmp_path / "run", **CPU))
    )
    work.start()
    work.join()
    assert timeless(results[0]) == timeless(result_of(whole))


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_wrong_seed_is_refused_before_anything_is_written(tmp_path: Path, seed: int) -> None:
    with pytest.raises(UserError, match=f"^seed: {seed} is not an integer from 0 to"):
        train(config(), seed=seed, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_seed_may_be_numpys_but_no_other_type() -> None:
    assert type(_checked_seed(np.int64(4))) is int
    for seed in (1.5, "1", None):
        with pytest.raises(UserError, match=r"^seed: "):
            _checked_seed(seed)


def test_an_existing_run_is_not_overwritten(whole: Path) -> None:
    with pytest.raises(UserError, match="exists"):
        train(config(), run_dir=whole, **CPU)
    with pytest.raises(UserError, match=r"^net\.hidden_shapes: the run in .* has \[8\]"):
        train(config(net__hidden_shapes=[9]), run_dir=whole, resume=True, **CPU)
    before = result_of(whole)
    assert train(config(), run_dir=whole, resume=True, **CPU) == before  # finished already
