"""Tries thousands of bad inputs: flags, configurations, spaces and every file that a command reads.

    python tests/resume/bad_inputs.py --count 10000 --seed 0

Each attempt calls a command's own ``main`` on a copy of a small run with one part damaged. It must
exit with code 0, or with 2 and one line that names the problem; 1 with such a line is allowed if
weights or a checkpoint are damaged, or training itself fails. A rejected run must not change a
byte. Anything else is a finding, as is an attempt that hangs or takes ten seconds of CPU time.

``--only NUMBER`` repeats one attempt of a seed and shows its output.
"""

import argparse
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
from resume import bad_files, bad_settings  # noqa: E402
from resume.attempt import Attempt, Example  # noqa: E402

ATTEMPTS: dict[str, tuple[int, Callable[[random.Random, Path], Attempt]]] = {
    "flags": (15, bad_settings.flags),
    "--set": (20, bad_settings.settings),
    "configurations": (20, bad_settings.configurations),
    "small numbers": (3, bad_settings.odd_runs),
    "sweep flags": (5, bad_settings.sweeps),
    "spaces": (4, bad_settings.spaces),
    "result.json, versions.json, params.json": (10, bad_files.records),
    "log.csv": (8, bad_files.logs),
    "manifests": (6, bad_files.manifests),
    "checkpoints": (8, bad_files.states),
    "weights": (6, bad_files.weights),
    "Stable-Baselines3 agents": (5, bad_files.agents),
    "policy files": (8, bad_files.policies),
}
"""The weight and the generator of each kind of attempt."""
MAX_CPU_S, MAX_S = 10.0, 120.0
"""CPU time, and wall time for an attempt that hangs; the latter allows for a busy machine."""
MEMORY = 2**35
"""Limit on the address space, so that no attempt exhausts the machine's memory."""


class Verdict(NamedTuple):
    number: int
    kind: str
    code: int
    """Negative for a signal: the process hung or died."""
    wrong: str
    """What is wrong; empty if nothing is."""
    argv: Sequence[str]
    error: str


def judge(attempt: Attempt, code: int, error: str, *, changed: bool, cpu_s: float) -> str:
    """What is wrong with the outcome of an attempt; empty if nothing is."""
    lines = error.strip().splitlines()
    if code < 0:
        return "hung or died"
    if cpu_s > MAX_CPU_S:
        return f"took {cpu_s:.0f} s"
    if code == 0 or (code == 1 and attempt.command == "diagnose" and not lines):
        return "a traceback" if "Traceback" in error else ""
    if code not in (1, 2) or (code == 1 and not attempt.may_fail):
        return "wrong exit code"
    if len(lines) != 1 or not lines[0].startswith("error: "):
        return f"{len(lines)} lines"
    if not any(name in lines[0] for name in attempt.names):
        return "does not name the problem"
    return "changed files" if changed and code == 2 else ""


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def verdicts(seed: int, numbers: Sequence[int]) -> Iterator[Verdict]:
    """Makes these attempts of a seed, each of which depends on nothing else."""
    with tempfile.TemporaryDirectory() as place:
        example, box = Example(Path(place) / "example").folder, Path(place) / "box"
        for number in numbers:
            rng = random.Random(f"{seed}:{number}")
            (kind,) = rng.choices(list(ATTEMPTS), [weight for weight, _ in ATTEMPTS.values()])
            shutil.copytree(example, box)
            attempt = ATTEMPTS[kind][1](rng, box)
            before = _contents(box)
            code, error, cpu_s = _fork(attempt, box, Path(place) / "stderr")
            wrong = judge(attempt, code, error, changed=_contents(box) != before, cpu_s=cpu_s)
            shutil.rmtree(box)
            yield Verdict(number, kind, code, wrong, attempt.argv, error)


def _fork(attempt: Attempt, folder: Path, error_log: Path) -> tuple[int, str, float]:
    """Runs it in a fork of this process: its exit code, stderr and CPU time."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            null = Path(os.devnull)
            sys.stdin, sys.stdout = null.open(), null.open("w")
            sys.stderr = error_log.open("w", encoding="utf-8", errors="backslashreplace")
            for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
                os.dup2(stream.fileno(), number)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            os.environ["WANDB_MODE"] = "offline"
            os.chdir(folder)
            code = attempt.run()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    handle = os.pidfd_open(child)
    if not select.select([handle], [], [], MAX_S)[0]:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)
    _, status, usage = os.wait4(child, 0)
    error = error_log.read_text(encoding="utf-8", errors="backslashreplace")
    return os.waitstatus_to_exitcode(status), error, usage.ru_utime + usage.ru_stime


def campaign(numbers: Sequence[int], seed: int, minutes: float) -> int:
    """Makes the attempts, prints a report and returns the number of findings."""
    end = time.monotonic() + 60 * minutes
    codes: Counter[tuple[str, int]] = Counter()
    findings = 0
    for one in verdicts(seed, numbers):
        codes[one.kind, one.code] += 1
        findings += bool(one.wrong)
        if one.wrong or len(numbers) == 1:
            print(f"{one.number}, {one.kind}: {one.wrong or 'ok'}, code {one.code}")
            print(f"  {ascii(one.argv)[:1000]}\n{one.error[-3000:]}", flush=True)
        if time.monotonic() > end:
            break
    for (kind, code), count in sorted(codes.items()):
        print(f"{kind}: {count} x {code}")
    by_code = Counter(code for _, code in codes.elements())
    print(f"seed {seed}: {codes.total()} bad inputs, {findings} findings; by exit code: {by_code}")
    return findings


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Tries bad inputs and checks the outcomes.")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=600, help="at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int)
    flags = parser.parse_args()
    numbers = range(flags.count) if flags.only is None else [flags.only]
    sys.exit(min(1, campaign(numbers, flags.seed, flags.minutes)))
