"""`train` gives the same run as a starter, with and without a directory."""

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import TINY, assert_same_run, result_of, rows_of, run_starter, same_results, tree_of
from tiny_runs import train as run

from torchrl_lite import UserError, evaluate, load_config, load_policy, train
from torchrl_lite.collector.collector import Collector
from torchrl_lite.config import Config

CPU: dict[str, Any] = {"seed": 4, "device": "cpu"}


def config(**changes: Any) -> Config:
    fields = TINY | {"env.tasks": ["reach-v3"], "train.num_epochs": 3, "train.eval_interval": 1}
    fields |= {key.replace("__", "."): value for key, value in changes.items()}
    return load_config(tree_of(fields))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("train") / "x" / "reach-v3" / "4"
    train(config(), run_dir=folder, **CPU)
    return folder


def without_time(result: dict[str, Any]) -> dict[str, Any]:
    return result | {"wall_time_s": 0}


def test_train_gives_the_run_of_a_starter(full: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(config().model_dump(mode="json")))
    flags = ("--config", path, "--seed", 4, "--device", "cpu", "--log_dir", tmp_path)
    assert run_starter("st_sac", *flags) == 0
    theirs = tmp_path / "tiny" / "reach-v3" / "4"
    assert_same_run(full, theirs)
    assert same_results(full, theirs)
    names = [{p.name.partition("tfevents")[0] for p in run.rglob("*")} for run in (full, theirs)]
    assert names[0] == names[1]


def test_without_a_directory_the_result_is_the_same_and_no_file_is_left(
    full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    cuda_seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", cuda_seeds.append)
    rows: list[dict[str, Any]] = []
    result = train(config(), callback=rows.append, **CPU)
    assert without_time(result) == without_time(result_of(full))
    assert [row["total_frames"] for row in rows] == [10, 20, 30, 40]
    assert [str(row["eval/return"]) for row in rows] == [r["eval/return"] for r in rows_of(full)]
    assert all(row["time/cpu_s"] > 0 and row["time/total_s"] > 0 for row in rows)
    assert not [*tmp_path.iterdir()]
    assert capfd.readouterr() == ("", "")
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert not cuda_seeds


def test_a_callback_can_end_the_run_with_a_result(
    full: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
    assert without_time(result_of(folder)) == without_time(result)
    assert (folder / "policy.safetensors").exists()
    assert "continue with --resume" not in capsys.readouterr().out
    again = train(config(), run_dir=folder, resume=True, **CPU)  # the rest, bit-identical
    assert_same_run(folder, full)
    assert without_time(again) == without_time(result_of(full))


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit), (signal.SIGHUP, SystemExit)],
)
def test_a_signal_leaves_a_checkpoint_to_resume(
    full: Path, tmp_path: Path, number: signal.Signals, error: type[BaseException]
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
    assert_same_run(tmp_path / "run", full)


def test_a_signal_in_the_last_epoch_ends_the_script_too(full: Path, tmp_path: Path) -> None:
    """The run is finished all the same."""

    def interrupt(row: dict[str, Any]) -> None:
        if row["epoch"] == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit):
        train(config(), run_dir=tmp_path, callback=interrupt, **CPU)
    assert_same_run(tmp_path, full)
    assert same_results(tmp_path, full)


@pytest.mark.parametrize("stored", [True, False])
def test_an_exit_in_a_callback_is_the_callers_own(tmp_path: Path, stored: bool) -> None:
    with pytest.raises(SystemExit) as caught:
        train(config(), run_dir=tmp_path if stored else None, callback=lambda _: exit(3), **CPU)
    assert caught.value.code == 3
    assert not (tmp_path / "error.txt").exists()


def test_train_works_in_another_thread_and_with_a_seed_of_numpy(full: Path, tmp_path: Path) -> None:
    how: dict[str, Any] = {"seed": np.int64(4), "device": "cpu", "run_dir": tmp_path}
    work = threading.Thread(target=train, args=[config()], kwargs=how)
    work.start()
    work.join()
    assert same_results(tmp_path, full)


@pytest.fixture
def odd_settings() -> Iterator[None]:
    """Must be left as they are."""
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"), torch.autocast("cpu"), torch.inference_mode():
            yield
            assert torch.get_default_dtype() == torch.float64
            assert torch.get_default_device().type == "meta"
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("odd_settings")
def test_torchs_global_settings_do_not_matter(full: Path) -> None:
    assert without_time(train(config(), **CPU)) == without_time(result_of(full))
    policy = load_policy(full)
    assert policy(np.zeros(39)).dtype == np.float32
    assert evaluate(policy, episodes=1)[0][0].lengths == [10]


def test_a_daemonic_process_is_told_to_train_without_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(vars(multiprocessing.current_process())["_config"], "daemon", True)
    with pytest.raises(UserError, match=r"^system.workers: a daemonic .* set them to 0$"):
        train(config(system__workers=1), **CPU)


@pytest.mark.parametrize("seed", [-1, 2**31, 1.5, "1", None])
def test_an_invalid_seed_is_rejected_before_anything_is_written(tmp_path: Path, seed: Any) -> None:
    with pytest.raises(UserError, match=f"^seed: {seed!r} is not an integer from 0 to"):
        train(config(), seed=seed, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_existing_run_is_not_overwritten(full: Path) -> None:
    with pytest.raises(UserError, match="exists"):
        train(config(), run_dir=full, **CPU)
    with pytest.raises(UserError, match=r"^net\.hidden_shapes: the run in .* has \[8\]"):
        train(config(net__hidden_shapes=[9]), run_dir=full, resume=True, **CPU)
    before = result_of(full)
    assert train(config(), run_dir=full, resume=True, **CPU) == before  # already finished


def test_exactly_the_pretrain_epochs_are_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, submit = list[bool](), Collector.submit

    def watched(*args: Any, random: bool) -> None:
        seen.append(random)
        submit(*args, random=random)

    monkeypatch.setattr(Collector, "submit", watched)
    run(tmp_path, "--task", "reach-v3", train__pretrain_epochs=2, train__num_epochs=2)
    assert seen == [True, True, False, False]
