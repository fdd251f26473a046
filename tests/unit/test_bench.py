"""The benchmarks measure what they report."""

import io
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from helpers import FULL, make_sac, make_spec, random_batch, random_noise
from rich.console import Console
from tiny_runs import one_line, run_starter
from torch.utils.flop_counter import FlopCounterMode

from torchrl_lite.bench import env as env_bench
from torchrl_lite.bench import measure, solve, update


def test_contenders_take_turns_and_the_first_round_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, turns = 0.0, []
    seconds = {"one": [100.0, 1.0, 4.0, 2.0], "other": [100.0, 5.0, 5.0, 10.0]}
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now)

    def contender(name: str) -> measure.Contender:
        def run() -> int:
            nonlocal now
            now += seconds[name].pop(0)
            turns.append(name)
            return 20

        return run

    rates = measure.interleave({name: contender(name) for name in seconds}, rounds=3)
    assert rates == {"one": 10.0, "other": 4.0}
    assert turns == ["one", "other"] * 4


def test_operations_of_an_update_match_the_count_of_pytorch() -> None:
    """Except for the critics' heads, whose products are not matrix products here."""
    rows, hidden = 16, [40, 50, 60]
    spec = make_spec(obs_dim=update.OBS, act_dim=update.ACT)
    sac = make_sac(spec, hidden=hidden)
    batch = random_batch(spec, batch_size=rows, dtype=torch.float32)
    with FlopCounterMode(display=False) as counter:
        sac.update(batch, random_noise(batch), FULL)
    heads = 2 * 2 * hidden[-1] * rows * (3 + 1 + 2)
    assert update.operations(hidden, rows) == counter.get_total_flops() + heads


def test_a_report_shows_ratios_to_its_baseline_and_saves_rates_and_hardware(
    tmp_path: Path,
) -> None:
    rates = {"old": 2000.0, "new": 5000.0}
    report = measure.Report("title", "frames/s", "old", rates, ("limit", 1e4))
    console = Console(width=100, record=True, file=io.StringIO())
    report.show(console)
    (new,) = [line.split() for line in console.export_text().splitlines() if "new" in line]
    assert [word for word in new if word[0].isdigit()] == ["5,000", "2.50", "0.50"]
    measure.write(tmp_path / "bench.json", [report])
    data = json.loads((tmp_path / "bench.json").read_text())
    assert (data["reports"][0]["rates"], data["hardware"]["cores"] >= 1) == (rates, True)
    assert data["versions"]["torch"] == version("torch")  # without torch's CUDA suffix


@pytest.mark.filterwarnings("ignore::UserWarning")  # from Gymnasium, about stock Meta-World
def test_an_environment_is_compared_with_stock_and_the_simulator() -> None:
    report, mean = env_bench.measure(["reach-v3"], frames=5, rounds=1)
    assert set(report.rates) == {env_bench.STOCK, env_bench.OURS}
    assert report.floor is not None
    assert min(report.floor[1], *report.rates.values()) > 0
    assert mean.rates == pytest.approx(report.rates)


class FinishedProcess:
    """A training process that has ended before its log is first read."""

    returncode = 0

    def __init__(self, argv: list[str], **_: Any) -> None:
        folder = Path(argv[argv.index("--log_dir") + 1]) / "id" / "task" / "1"
        folder.mkdir(parents=True)
        header = "epoch,total_frames,updates,time/cpu_s,eval/success_rate"
        successes = ["", 0.9, "", 0.95, 1.0, "", 0.95, 0.0]
        rows = [f"{i},{10 * i},{i},30,{rate}" for i, rate in enumerate(successes, 1)]
        (folder / "log.csv").write_text("\n".join([header, *rows, ""]))

    def poll(self) -> int:
        return self.returncode

    def send_signal(self, _: int) -> None: ...

    def communicate(self) -> tuple[None, str]:
        return None, ""


def test_a_task_is_solved_by_three_good_evaluations_in_a_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After 0.90, these are 0.95, 1.00 and 0.95; later evaluations do not count."""
    monkeypatch.setattr(solve.subprocess, "Popen", FinishedProcess)
    run = solve._ours("any", "reach-v3", minutes=60.0, seed=1)
    assert run.solved
    assert run == solve.Run("any", 3.5, 7, 70, [0.9, 0.95, 1.0, 0.95])


def test_the_baseline_evaluates_in_one_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building one takes time, which would count as training time."""

    class Peer:
        def learn(self, _: int, callback: Any) -> None:
            callback.num_timesteps = solve.START
            while callback._on_step():
                callback.num_timesteps += solve.UPDATES

    trained: list[object] = []
    evaluated: list[object] = []
    monkeypatch.setattr(solve, "make_env", lambda *_, **__: object())
    monkeypatch.setattr(solve, "sac", lambda env, **_: trained.append(env) or Peer())
    monkeypatch.setattr(solve, "success_rate", lambda _, env, __: evaluated.append(env) or 1.0)
    callbacks = Mock(BaseCallback=object)
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.callbacks", callbacks)
    assert solve._stable_baselines("any", "reach-v3", minutes=60.0, seed=1).solved
    assert len(evaluated) == solve.IN_A_ROW and len({*trained, *evaluated}) == 2


def test_a_success_at_any_step_solves_an_episode_of_the_baseline() -> None:
    steps = iter([(0.0, False), (1.0, False), (0.0, True), (0.0, False), (0.0, True)])

    def step(_: int) -> tuple[int, float, bool, bool, dict[str, float]]:
        success, truncated = next(steps)
        return 0, 0.0, False, truncated, {"success": success}

    env = Mock(reset=lambda seed: (seed, {}), step=step)
    model = Mock(predict=lambda obs, **_: (obs, None))
    assert solve.success_rate(model, env, [{"seed": 0}, {"seed": 1}]) == 0.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["env", "--task", "reach-v2"], ["--task", "reach-v3"]),
        (["env", "--rounds", "0"], ["--rounds", "from 1 to"]),
        (["update", "--device", "cuda:9"], ["--device", "cpu"]),
        (["update", "--accel", "graph"], ["system.accel", "CUDA"]),
        (["speed"], ["env", "collect"]),
        (["train", "--frames", "10000"], ["--frames", "500", "10000"]),
        (["train", "--task", "reach-v3", "--task", "push-v3"], ["--task: train takes one"]),
        (["train", "--seed", "1"], ["--seed: not for train, which takes --task, --frames"]),
    ],
)
def test_a_usage_error_is_one_line_with_exit_code_2(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_starter("bench", *arguments) == 2
    one_line(capsys.readouterr().err, *words)
