"""Kills runs at random moments, resumes them and compares them with uninterrupted ones.

Use `Crashes` from a test, or run this file for hours::

    python tests/resume/crash.py --minutes 120 --seed 0

It prints its progress and, at the end, the number of kills by phase and by setup, and how many runs
differed. The directory of a run that differs is kept. SIGTERM ends it early.
"""

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
from resume.killing import Moment, Server, random_moments  # noqa: E402
from resume.setups import SETUPS, TASK, TINY  # noqa: E402
from tiny_runs import (  # noqa: E402
    assert_same_bits,
    assert_same_run,
    same_results,
    state_of,
    tree_of,
)


def compare(run: Path, reference: Path) -> None:
    """Compares weights, optimiser moments, temperatures, transitions, logs and results bit by bit.

    Raises:
        AssertionError: something differs, or a file is missing or unexpected.
    """
    ours, theirs = (
        {path.relative_to(folder) for path in folder.rglob("*") if "events.out" not in path.name}
        for folder in (run, reference)
    )
    assert ours == theirs, ours ^ theirs
    for name in ("params.json", "versions.json", "policy.safetensors"):
        assert (run / name).read_bytes() == (reference / name).read_bytes(), name
    assert same_results(run, reference), "result.json"
    assert_same_run(run, reference)
    weights = [path.stem for path in (reference / "checkpoint").glob("[!l]*.pt")]
    assert "epoch_5" in weights
    for name in weights:
        assert_same_bits(state_of(run, name), state_of(reference, name), name)


class Crashes:
    """One configuration, run once uninterrupted and then with kills."""

    def __init__(self, server: Server, folder: Path, changes: dict[str, Any]) -> None:
        self._server, self.folder = server, folder
        settings = {"algo": "sac", "env.tasks": [TASK]} | TINY | changes
        if "source" in settings:  # another run, which this one starts from
            source = Crashes(server, folder / "source", settings.pop("source"))
            settings["transfer.init_from"] = str(source.run_of(source.reference))
        self._algo, self._tasks = settings["algo"], settings["env.tasks"]
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "config.json"
        self._config.write_text(json.dumps(tree_of(settings)))
        self.output, self.kills = "", 0
        """Output of the last run, and how often it was killed."""
        self.reference = folder / "reference"
        self._uninterrupted_s = 0.0
        began = time.monotonic()
        self._start(self.reference, None, resume=False)
        self._uninterrupted_s = time.monotonic() - began

    def run_of(self, log_dir: Path) -> Path:
        return log_dir / "x" / (self._tasks[0] if len(self._tasks) == 1 else "MT2") / "1"

    def _start(self, log_dir: Path, at: Moment | None, *, resume: bool) -> bool:
        """Starts or resumes a run; returns whether it finished, else it was killed."""
        log_dir.mkdir(exist_ok=True)
        argv = ["--config", str(self._config), *(["--resume"] if resume else [])]
        many = len(self._tasks) > 1
        code = self._server.run(
            log_dir, *argv, algo=self._algo, many=many, at=at, uninterrupted_s=self._uninterrupted_s
        )
        assert code == 0 or (at and code == -signal.SIGKILL), (log_dir / "output").read_text()
        return code == 0

    def crash(self, name: str, moments: Sequence[Moment]) -> int:
        """Kills a run at these moments, resumes it after each and compares it with the reference.

        Returns the number of kills: a run that finishes before a moment is not killed any more.

        Raises:
            AssertionError: the run differs or failed; its directory is kept.
        """
        log_dir, self.kills = self.folder / name, 0
        for moment in moments:
            if self._start(log_dir, moment, resume=self.kills > 0 or log_dir.exists()):
                break
            self.kills += 1
        else:
            self._start(log_dir, None, resume=True)
        compare(self.run_of(log_dir), self.run_of(self.reference))
        self.output = (log_dir / "output").read_text()
        shutil.rmtree(log_dir)
        return self.kills


def _weight(changes: dict[str, Any]) -> int:
    """How often a setup is chosen: rarely if it has workers, which start slowly because each is a
    new process that imports everything."""
    if changes.get("system.workers"):
        return 1
    return 10 if len(changes.get("env.tasks", [])) > 1 else 40


def campaign(minutes: float, seed: int) -> int:
    """Returns how many runs differed from their references."""
    rng, server, folder = random.Random(seed), Server(), Path(tempfile.mkdtemp())
    crashes: dict[str, Crashes] = {}
    end, runs, differences = time.monotonic() + 60 * minutes, 0, 0
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    by_phase: Counter[str] = Counter()
    by_setup: Counter[str] = Counter()
    while time.monotonic() < end and not stopped:
        (name,) = rng.choices(list(SETUPS), [_weight(changes) for changes in SETUPS.values()])
        if name not in crashes:
            crashes[name] = Crashes(server, folder / name.replace(" ", "_"), SETUPS[name])
        moments = random_moments(rng, rng.randint(1, 10))
        runs += 1
        print(f"run {runs}, {name}: {' '.join(map(str, moments))}", flush=True)
        try:
            crashes[name].crash(f"run_{runs}", moments)
        except AssertionError as error:
            differences += 1
            print(f"run {runs} DIFFERS, see {crashes[name].folder / f'run_{runs}'}: {error}")
        print(f"  {crashes[name].kills} kills", flush=True)
        by_setup[name] += crashes[name].kills
        by_phase.update(moment.phase for moment in moments[: crashes[name].kills])
    server.close()
    for counts in (by_phase, by_setup):
        print(", ".join(f"{name} {count}" for name, count in counts.most_common()))
    print(f"seed {seed}: {by_phase.total()} kills in {runs} runs, {differences} differences")
    if not differences:
        shutil.rmtree(folder)
    return differences


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Kills runs at random moments and compares them.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    sys.exit(min(1, campaign(flags.minutes, flags.seed)))
