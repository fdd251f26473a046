"""Tries thousands of bad inputs: flags, configurations, spaces and every file that a command reads.

    python tests/resume/bad_inputs.py --count 10000 --seed 0

Each attempt calls a command's own ``main`` on a copy of a small run with one part damaged. It must
exit with code 0, or with 2 and one line that names the problem; 1 with such a line is allowed if
weights or a checkpoint are damaged, or training itself fails. A rejected run must not change a
byte. Anything else is a finding, as is an attempt that hangs or takes ten seconds of CPU time.

``--only NUMBER`` repeats one attempt of a seed and shows its output.
"""

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
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
BATCH = 200
"""Attempts per process, so that leftovers do not accumulate."""


class Verdict(NamedTuple):
    number: int
    kind: str
    code: int | None
    """None if the process hung or died."""
    wrong: str
    """What is wrong; empty if nothing is."""
    argv: Sequence[str] = ()
    error: str = ""


def judge(attempt: Attempt, code: int, error: str, *, changed: bool, cpu_s: float) -> str:
    """What is wrong with the outcome of an attempt; empty if nothing is."""
    lines = error.strip().splitlines()
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


def _kind(rng: random.Random) -> str:
    return rng.choices(list(ATTEMPTS), [weight for weight, _ in ATTEMPTS.values()])[0]


def _kind_of(seed: int, number: int) -> str:
    return _kind(random.Random(f"{seed}:{number}"))


def _try(seed: int, number: int, example: Path, error_log: Path) -> Verdict:
    """Makes attempt ``number`` of a seed, which depends on nothing else; logs stderr."""
    rng = random.Random(f"{seed}:{number}")
    kind = _kind(rng)
    folder = error_log.parent / "box"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(example, folder)
    os.chdir(folder)
    attempt = ATTEMPTS[kind][1](rng, folder)
    before = _contents(folder)
    os.truncate(error_log, 0)
    cpu = time.process_time()
    try:
        code = attempt.run()
    except BaseException:
        traceback.print_exc()
        code = -1
    cpu = time.process_time() - cpu
    sys.stderr.flush()
    error = error_log.read_text(encoding="utf-8", errors="backslashreplace")
    wrong = judge(attempt, code, error, changed=_contents(folder) != before, cpu_s=cpu)
    return Verdict(number, kind, code, wrong, attempt.argv, error)


def _work(seed: int, numbers: Sequence[int], example: Path, pipe: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.environ["WANDB_MODE"] = "offline"
    error_log = example.parent / "stderr"
    devnull = os.open(os.devnull, os.O_RDWR)
    file = os.open(error_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number, target in enumerate((devnull, devnull, file)):
        os.dup2(target, number)
    for number in numbers:
        pipe.send(_try(seed, number, example, error_log))


def verdicts(seed: int, numbers: Sequence[int]) -> Iterator[Verdict]:
    """Makes each attempt in a fork of this process."""
    left, context = list(numbers), multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as place:
        example = Example(Path(place) / "example").folder
        while left:
            receiver, sender = context.Pipe(duplex=False)
            child = context.Process(target=_work, args=(seed, left[:BATCH], example, sender))
            child.start()
            sender.close()
            try:
                for number in left[:BATCH]:
                    del left[0]
                    verdict = _receive(receiver) or Verdict(
                        number, _kind_of(seed, number), None, "hung or died"
                    )
                    yield verdict
                    if verdict.code is None:
                        break
            finally:
                child.kill()
                child.join()


def _receive(pipe: Connection) -> Verdict | None:
    """None if the process hangs or has died."""
    try:
        return pipe.recv() if pipe.poll(MAX_S) else None
    except EOFError:
        return None


def campaign(numbers: Sequence[int], seed: int, minutes: float) -> int:
    """Makes the attempts, prints a report and returns the number of findings."""
    end = time.monotonic() + 60 * minutes
    codes: Counter[tuple[str, int | None]] = Counter()
    findings = 0
    for one in verdicts(seed, numbers):
        codes[one.kind, one.code] += 1
        findings += bool(one.wrong)
        if one.wrong or len(numbers) == 1:
            print(f"{one.number}, {one.kind}: {one.wrong or 'ok'}, code {one.code}")
            print(f"  {ascii(one.argv)[:1000]}\n{one.error[-3000:]}", flush=True)
        if time.monotonic() > end:
            break
    for kind in ATTEMPTS:
        shown = [f"{n} x {code}" for (name, code), n in codes.items() if name == kind]
        print(f"{kind}: {', '.join(sorted(shown))}")
    by_code = Counter(code for _, code in codes.elements())
    shown = [f"{number} x {code}" for code, number in by_code.items()]
    print(f"seed {seed}: {codes.total()} bad inputs, {findings} findings; exit codes: "
          f"{', '.join(sorted(shown))}")  # fmt: skip
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
