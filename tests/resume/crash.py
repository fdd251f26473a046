"""Runs a starter in a child process and ends it with SIGKILL at a chosen moment.

A moment is a phase and how often it was reached, never a time. The package is imported once, by a
server; every run is a fork of it. Use `Server` from a test, or run this file for hours::

    python tests/resume/crash.py --minutes 120
"""

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing import active_children
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
TASK = "reach-v3"
TASKS = ["reach-v3", "drawer-close-v3"]
# An episode is longer than an epoch and no multiple of it; the ring goes round in epoch 6.
TINY: dict[str, Any] = {
    "env.max_episode_frames": 15,
    "net.hidden_shapes": [8],
    "replay_buffer.size": 55,
    "train.epoch_frames": 10,
    "train.opt_steps": 3,
    "train.pretrain_epochs": 2,
    "train.num_epochs": 8,
    "train.batch_size": 8,
    "train.eval_interval": 3,
    "train.eval_episodes": 2,
    "train.final_eval_episodes": 2,
    "train.save_interval": 2,
    "train.snapshot_interval": 5,
    "system.threads": 1,
    "system.workers": 0,
}
MANY = {
    "env.tasks": TASKS,
    "env.num_envs": 4,
    "env.group_size": 2,
    "replay_buffer.size": 220,
    "train.batch_size": 16,
    "env.reward_normalization": "ema",
}

AHEAD = {"system.workers": 2, "system.overlap": True}
# A task leaves and returns, and what is left of its old transitions counts less.
CURRICULUM = MANY | {
    "train.num_epochs": 14,
    "curriculum.kind": "custom",
    "curriculum.stages": [TASKS[:1], TASKS, TASKS[1:], TASKS],
    "curriculum.thresholds": [0],
    "curriculum.min_frames_per_stage": 40,
    "curriculum.stage_eval_frames": 20,
    "curriculum.stage_eval_episodes": 1,
    "curriculum.old_data": 0.25,
}
# Tasks padded to one another's size, updates that do not divide by the delay, a ring as long as
# an epoch, one checkpoint, no evaluation.
SHAPES = MANY | {
    "algo": "td3",
    "env.suite": "gymnasium",
    "env.tasks": ["Hopper-v5", "Pendulum-v1"],
    "replay_buffer.size": 40,
    "td3.policy_delay": 3,
    "train.opt_steps": 5,
    "train.keep_checkpoints": 1,
    "train.eval_interval": 100,
}
FEW_UPDATES = MANY | {
    "env.noise_repeat": 4,
    "env.reward_normalization": "return",
    "net.hidden_shapes": [8, 8],
    "net.actor_hidden_shapes": [6, 6],
    "net.norm": "layer",
    "net.residual": True,
    "net.critic.kind": "hl_gauss",
    "net.critic.bins": 11,
    "net.critic.combine": "mean",
    "sac.policy_delay": 2,
    "sac.initial_alpha": 0.01,
    "train.n_step": 3,
    "train.lr_schedule": "cosine",
}
OLD_REWARDS = {
    "env.reward_version": "v1",
    "net.kind": "soft_module",
    "net.soft_module.module_hidden": 8,
    "net.soft_module.gating_hidden": 8,
    "sac.temperature_weights": True,
    "system.threads": 2,
    "system.workers": 1,
}


class Moment(NamedTuple):
    """``phase`` for the ``count``-th time since the process began."""

    phase: str
    count: int

    def __str__(self) -> str:
        return f"{self.phase}:{self.count}"


# --- in the child --------------------------------------------------------------------------------


def kill_at(moment: Moment) -> None:
    """From here on, this process kills itself at that moment, or one of its workers."""
    left = moment.count

    def reached() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            worker = moment.phase == "worker"
            victim = active_children()[0].pid if worker else os.getpid()
            assert victim
            os.kill(victim, signal.SIGKILL)

    _hook(moment.phase, reached)


def _before(owner: Any, name: str, reached: Callable[[], None]) -> None:
    original = getattr(owner, name)

    def method(*args: Any, **options: Any) -> Any:
        reached()
        return original(*args, **options)

    setattr(owner, name, method)


def _after(owner: Any, name: str, reached: Callable[[], None]) -> None:
    original = getattr(owner, name)

    def method(*args: Any, **options: Any) -> Any:
        result = original(*args, **options)
        reached()
        return result

    setattr(owner, name, method)


def _hook(phase: str, reached: Callable[[], None]) -> None:
    from torchrl_lite.algo.learner import Learner
    from torchrl_lite.collector.collector import Collector
    from torchrl_lite.collector.episode import EpisodeRunner
    from torchrl_lite.reporting.logger import Logger
    from torchrl_lite.training.rl_algo import RLAlgo

    if phase == "collect":  # a step of an environment in this process, or the wait for workers
        _before(EpisodeRunner, "step", reached)
        _before(Collector, "result", reached)
    elif phase == "worker":  # while the workers collect
        _after(Collector, "submit", reached)
    elif phase == "update":  # between two updates, or between two optimisers of one
        _before(Learner, "step", reached)
    elif phase == "evaluate":  # before it begins, or when all is over and nothing is written yet
        _before(Collector, "evaluate", reached)
        _after(Collector, "evaluate", reached)
    elif phase == "log":  # a row is written, and no checkpoint that belongs to it
        _after(Logger, "dump", reached)
    elif phase == "stage":  # at its end: decided and not told, told, and its weights written
        _before(Logger, "mark", reached)
        _after(Logger, "mark", reached)
        _after(RLAlgo, "_check_stage", reached)
    else:
        _save(reached)


def _save(reached: Callable[[], None]) -> None:
    """Within a file: when half of it is written, when all is, when it has its name."""
    fdopen = os.fdopen

    def half(handle: int, *args: Any) -> Any:
        file = fdopen(handle, *args)
        write = file.write

        def write_halves(data: Any) -> int:
            view = memoryview(data)
            middle = view.nbytes // 2
            write(view[:middle])
            file.flush()
            reached()
            return middle + write(view[middle:])

        file.write = write_halves  # type: ignore[method-assign]
        return file

    os.fdopen = half  # type: ignore[assignment]
    _after(os, "fsync", reached)


# How often each is reached in a run of `TINY`, about; a stage is for curricula alone.
PHASES = {"collect": 100, "update": 60, "evaluate": 7, "log": 9, "save": 80}


def _child(request: dict[str, Any]) -> int:
    log = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from torchrl_lite.command.launch import main

    if request["moment"]:
        kill_at(Moment(*request["moment"]))
    return main(request["algo"], request["argv"], multi_task=request["multi_task"])


def _serve() -> None:
    """Answers requests, one JSON a line, with exit codes as a shell counts them."""
    import torch

    import torchrl_lite.command.launch  # noqa: F401
    from torchrl_lite.env.goals import goals

    torch.set_num_threads(1)
    for task in TASKS:
        goals(task, 1)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = _child(json.loads(line))
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


# --- in the test ---------------------------------------------------------------------------------


class Server:
    """Starts runs in processes that have imported everything already."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            text=True,
        )

    def run(
        self, log_dir: Path, *argv: str, algo: str, many: bool, at: Moment | None = None
    ) -> int:
        """The exit code; what was printed is added to ``output`` in ``log_dir``."""
        assert self._process.stdin and self._process.stdout
        request = {
            "argv": [*argv, "--device", "cpu", "--id", "x", "--log_dir", str(log_dir)],
            "algo": algo,
            "multi_task": many,
            "moment": at,
            "output": str(log_dir / "output"),
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


class Crashes:
    """One configuration, run once without a crash and then with many."""

    def __init__(self, server: Server, folder: Path, changes: dict[str, Any]) -> None:
        self._server, self._folder = server, folder
        settings = {"algo": "sac", "env.tasks": [TASK]} | TINY | changes
        if "source" in settings:  # another run, which this one starts from
            source = Crashes(server, folder / "source", settings.pop("source"))
            settings["transfer.init_from"] = str(source.run_of(source.reference))
        self._algo, self._tasks = settings["algo"], settings["env.tasks"]
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "config.json"
        self._config.write_text(json.dumps(_tree(settings)))
        self.said = ""
        """What the last run printed."""
        self.reference = folder / "reference"
        self._start(self.reference, None, resume=False)

    def run_of(self, log_dir: Path) -> Path:
        return log_dir / "x" / (self._tasks[0] if len(self._tasks) == 1 else "MT2") / "1"

    def _start(self, log_dir: Path, at: Moment | None, *, resume: bool) -> bool:
        """Whether it came to its end; else it was killed."""
        log_dir.mkdir(exist_ok=True)
        argv = ["--config", str(self._config), *(["--resume"] if resume else [])]
        many = len(self._tasks) > 1
        code = self._server.run(log_dir, *argv, algo=self._algo, many=many, at=at)
        assert code == 0 or (at and code == -signal.SIGKILL), (log_dir / "output").read_text()
        return code == 0

    def crash(self, name: str, moments: Sequence[Moment]) -> int:
        """Kills a run at these moments, each after a resume, and compares it with the reference.

        Returns how many kills there were: a moment that a part of a run does not reach is none.
        """
        log_dir, kills = self._folder / name, 0
        for moment in moments:
            if self._start(log_dir, moment, resume=kills > 0 or log_dir.exists()):
                break
            kills += 1
        else:
            self._start(log_dir, None, resume=True)
        compare(self.run_of(log_dir), self.run_of(self.reference))
        self.said = (log_dir / "output").read_text()
        shutil.rmtree(log_dir)
        return kills


def compare(run: Path, reference: Path) -> None:
    """File by file, to the last bit: weights, moments, temperatures, transitions, logs, result.

    Raises:
        AssertionError: something differs, or a file is there that should not be.
    """
    import torch
    from helpers import complete_state, newest_checkpoint

    def plain(path: Path) -> Any:
        if path.suffix == ".csv":
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            return [{k: v for k, v in r.items() if k[:5] not in ("time/", "rate/")} for r in rows]
        if path.suffix == ".json":
            return {k: v for k, v in json.loads(path.read_text()).items() if k != "wall_time_s"}
        return torch.load(path, weights_only=True)

    weights = [path.name for path in (reference / "checkpoint").glob("[!l]*.pt")]
    assert "epoch_5.pt" in weights
    for name in ("params.json", "versions.json", "log.csv", "result.json",
                 *(f"checkpoint/{name}" for name in weights)):  # fmt: skip
        same_bits(plain(run / name), plain(reference / name), name)
    policies = [(path / "policy.safetensors").read_bytes() for path in (run, reference)]
    assert policies[0] == policies[1], "policy.safetensors"
    states = [complete_state(path) for path in (run, reference)]
    for state in states:
        del state["wall_time"]
    same_bits(*states, newest_checkpoint(run).name)
    names = [
        {str(file.relative_to(path)) for file in path.rglob("*") if "events.out" not in file.name}
        for path in (run, reference)
    ]
    assert names[0] == names[1], names[0] ^ names[1]


def same_bits(one: Any, other: Any, where: str) -> None:
    import numpy as np
    import torch

    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            same_bits(one[key], other[key], f"{where} {key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            same_bits(*pair, f"{where} {index}")
    elif isinstance(one, torch.Tensor | np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), where
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes(), where
    else:
        assert one == other, f"{where}: {one!r}, not {other!r}"


def random_moments(rng: random.Random, number: int) -> list[Moment]:
    phases = [rng.choice(list(PHASES)) for _ in range(number)]
    return [Moment(phase, rng.randint(1, PHASES[phase])) for phase in phases]


def _tree(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, field = key.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[field] = value
    return tree


SETUPS: dict[str, dict[str, Any]] = {
    "one task": {},
    "two tasks": MANY,
    "a worker": MANY | {"system.workers": 1},
    "two workers": MANY | {"system.workers": 2},
    "td3": {"algo": "td3"},
    "ddpg": MANY | {"algo": "ddpg"},
    "halfcheetah": {"env.suite": "gymnasium", "env.tasks": ["HalfCheetah-v5"]},
    # Its policy stands still until the middle of epoch 6; a save is in the middle of that.
    "transfer": MANY
    | {
        "source": {"train.num_epochs": 3},
        "transfer.load": ["actor", "critic", "alpha", "buffer"],
        "transfer.task_map": {TASKS[1]: TASK},
        "transfer.freeze_updates": 10,
    },
    "overlap": MANY | AHEAD,
    "curriculum": CURRICULUM,
    "curriculum ahead": CURRICULUM | AHEAD,
    "shapes": SHAPES,
    "old rewards": MANY | OLD_REWARDS,
    "few updates": FEW_UPDATES,
}


def _for_hours(minutes: float, seed: int) -> None:
    rng, server, kills = random.Random(seed), Server(), 0
    with tempfile.TemporaryDirectory() as folder:
        crashes = {
            name: Crashes(server, Path(folder) / name.replace(" ", "_"), changes)
            for name, changes in SETUPS.items()
        }
        end, number = time.monotonic() + 60 * minutes, 0
        while time.monotonic() < end:
            name = rng.choice(list(SETUPS))
            moments = random_moments(rng, rng.randint(1, 6))
            number += 1
            print(f"run {number}, {name}: {' '.join(map(str, moments))}", flush=True)
            kills += crashes[name].crash(f"run_{number}", moments)
    server.close()
    print(f"{number} runs equal their references after {kills} kills")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Kills runs at random moments and compares them.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.serve:
        _serve()
    else:
        _for_hours(flags.minutes, flags.seed)
