"""Core minutes to solve a task: the fast recipe, plain SAC, and Stable-Baselines3's SAC."""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from torchrl_lite.bench.measure import overrides
from torchrl_lite.bench.peer import START, sac, success_rate
from torchrl_lite.config.extras import import_extra
from torchrl_lite.env.make import make_env
from torchrl_lite.reporting.rows import read_rows

SUCCESS, IN_A_ROW = 0.95, 3
"""Solved: `IN_A_ROW` consecutive evaluations with at least this success."""
EPISODES, UPDATES = 20, 2500
"""Episodes per evaluation, and updates between evaluations."""


@dataclass
class Run:
    """Progress of a training; its core minutes include evaluations."""

    name: str
    core_minutes: float = 0.0
    updates: int = 0
    frames: int = 0
    successes: list[float] = field(default_factory=list)

    @property
    def solved(self) -> bool:
        return len(self.successes) >= IN_A_ROW and min(self.successes[-IN_A_ROW:]) >= SUCCESS


@dataclass
class SolveReport:
    """A comparison of the trainings of one task."""

    title: str
    runs: list[Run]

    def show(self, console: Console) -> None:
        table = Table(title=self.title, title_justify="left")
        for column in ("", "solved", "core minutes", "updates", "frames", "last success"):
            table.add_column(column, justify="left" if not column else "right")
        for run in self.runs:
            last = f"{run.successes[-1]:.2f}" if run.successes else "-"
            table.add_row(
                run.name, "yes" if run.solved else "no", f"{run.core_minutes:.1f}",
                f"{run.updates:,}", f"{run.frames:,}", last,
            )  # fmt: skip
        console.print(table)


def _ours(name: str, task: str, *, minutes: float, seed: int) -> Run:
    """A run of the configuration ``name`` in a subprocess, stopped by a signal once it has solved
    the task."""
    settings = {
        "train.eval_interval": UPDATES // 500,
        "train.eval_episodes": EPISODES,
        "train.final_eval_episodes": 1,
        "train.save_interval": 10**6,
        "system.workers": 0,
        "system.threads": 1,
    }
    start = "import sys; from torchrl_lite.command.launch import main; sys.exit(main('sac'))"
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-c", start, "--config", name, "--task", task,
             "--device", "cpu", "--seed", str(seed), "--log_dir", folder, *overrides(settings)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        run = Run(name)
        try:
            while process.poll() is None and not run.solved and run.core_minutes < minutes:
                time.sleep(1)
                run = _read(name, folder)
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate()
        if process.returncode not in (0, 128 + signal.SIGTERM):
            raise RuntimeError(f"{name}: exit code {process.returncode}: {errors}")
        return _read(name, folder)  # also the rows written since the last look


def _read(name: str, folder: str) -> Run:
    run = Run(name)
    for path in Path(folder).rglob("log.csv"):
        for row in read_rows(path):
            if run.solved:  # ignore later rows
                break
            run.core_minutes += float(row["time/cpu_s"]) / 60
            run.updates, run.frames = int(row["updates"]), int(row["total_frames"])
            if row["eval/success_rate"]:
                run.successes.append(float(row["eval/success_rate"]))
    return run


def _stable_baselines(name: str, task: str, *, minutes: float, seed: int) -> Run:
    """The same environment, one update per frame."""
    from stable_baselines3.common.callbacks import BaseCallback

    run = Run(name)
    resets = [
        {"seed": episode, "options": {"goal": episode * 50 // EPISODES}}
        for episode in range(EPISODES)
    ]

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            run.frames, run.updates = self.num_timesteps, max(0, self.num_timesteps - START)
            if run.updates and run.updates % UPDATES == 0:
                run.successes.append(success_rate(model, evaluated, resets))
            run.core_minutes = (time.process_time() - began) / 60
            return not run.solved and run.core_minutes < minutes

    evaluated = make_env("metaworld", task, seed=seed)
    began = time.process_time()
    torch.set_num_threads(1)
    model = sac(make_env("metaworld", task, seed=seed), seed=seed)
    model.learn(10**9, callback=Watch())
    return run


TRAININGS = {
    "fast_st.json": _ours,
    "base_st.json": _ours,
    "Stable-Baselines3's SAC": _stable_baselines,
}


def measure(tasks: Sequence[str], *, minutes: float, seed: int) -> list[SolveReport]:
    """Each training ends when it has solved the task, or after ``minutes`` core minutes."""
    import_extra("stable_baselines3", "bench", needed_by="bench solve")
    reports = []
    for task in tasks:
        title = f"{task}, seed {seed}, at most {minutes:g} core minutes each"
        report = SolveReport(title, [])
        for name, train in TRAININGS.items():
            print(f"{task}: {name}: ", end="", flush=True)
            run = train(name, task, minutes=minutes, seed=seed)
            print(f"{'' if run.solved else 'not '}solved in {run.core_minutes:.1f} core minutes")
            report.runs.append(run)
        reports.append(report)
    return reports
