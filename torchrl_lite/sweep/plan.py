"""The runs of a sweep: starters x settings (of a grid, or methods to compare) x tasks x seeds."""

import json
import re
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from operator import eq
from pathlib import Path
from typing import Any

from torchrl_lite.algo.registry import ALGORITHMS
from torchrl_lite.analysis.runs import Run
from torchrl_lite.command import flags
from torchrl_lite.command.job import epochs_of_result
from torchrl_lite.command.options import experiment_name, request, resolve, with_allowed_changes
from torchrl_lite.config import MAX_NAME, nearest, parse_json, parse_override, read_tree
from torchrl_lite.errors import UserError
from torchrl_lite.sweep.trial import Trial

STARTERS = [f"{kind}_{algo}" for kind in ("st", "mt") for algo in ALGORITHMS]
Setting = Mapping[str, Any]
"""One value per key of the grid."""
MAX_SPAN = 10_000


def plan(args: Namespace) -> list[Trial]:
    """All runs that the flags ask for, validated as their starters would.

    Raises:
        UserError: an invalid flag or field, a conflict with an existing run, or two equal runs.
    """
    check_keys([key for key, _ in args.grid], args, flag="--grid")
    for name, setting in args.methods.items():
        check_keys(list(setting), args, flag=f"methods.{name}")
    return distinct(
        trial
        for starter in args.starter
        for name, setting in _named_settings(args, starter)
        for trial in _runs_of_method(args, starter, setting, name)
    )


def _runs_of_method(
    args: Namespace, starter: str, setting: Setting, name: str | None
) -> Iterator[Trial]:
    """`runs`, with the method in errors: a file has many, and each sets many fields."""
    try:
        yield from runs(args, starter, setting, name=name)
    except UserError as error:
        raise UserError(f"methods.{name}: {error}" if name else str(error)) from None


def _named_settings(args: Namespace, starter: str) -> Iterable[tuple[str | None, Setting]]:
    """Methods with their names, or combinations, whose names follow from their values."""
    return args.methods.items() or ((None, values) for values in _settings(args.grid, starter))


def distinct(trials: Iterable[Trial]) -> list[Trial]:
    """
    Raises:
        UserError: two of the runs have the same folder.
    """
    known: dict[Path, Trial] = {}
    for trial in trials:
        if trial.folder in known:
            raise UserError(f"{trial.folder}: two runs of the sweep would share this folder")
        known[trial.folder] = trial
    return list(known.values())


def runs(
    args: Namespace, starter: str, setting: Setting, *, name: str | None = None
) -> Iterator[Trial]:
    """A run for each task and seed; ``name`` of the experiment: by default, from the setting.

    Raises:
        UserError: an invalid flag or field, or a conflict with an existing run.
    """
    if args.tasks and starter.startswith("mt_"):
        raise UserError(f"--tasks: {starter} trains the tasks of its --config; omit --tasks")
    for task, seed in product(args.tasks or [()], args.seeds):
        yield _trial(args, starter, setting, task, seed, name)


def check_keys(keys: Sequence[str], args: Namespace, *, flag: str) -> None:
    """
    Raises:
        UserError: a field that ``flag`` varies is of no use, or is set twice.
    """
    _check_algorithms(keys, args.starter, flag)
    _check_twice(keys, args.set, flag)
    if args.tasks and "env.tasks" in keys:
        raise UserError(f"{flag}: env.tasks: the tasks are those of --tasks")


def _check_algorithms(keys: Sequence[str], starters: Sequence[str], flag: str) -> None:
    trained = {algo_of(starter) for starter in starters}
    for key in keys:
        section = key.split(".")[0]
        if section in ALGORITHMS and section not in trained:
            raise UserError(f"{flag}: {key}: none of the starters trains {section}")


def _check_twice(keys: Sequence[str], settings: Sequence[str], flag: str) -> None:
    """Reject a field set by two flags: the folder name would not match the run."""
    known = [parse_override(text)[0] for text in settings]
    for key in keys:
        path = key.split(".")
        if twice := [other for other in known if all(map(eq, other, path))]:
            named = f", and {'.'.join(twice[0])}" if twice[0] != path else ""
            raise UserError(f"{flag}: {key}{named}: set a field by only one {flag} or --set")
        known.append(path)


def algo_of(starter: str) -> str:
    return starter.partition("_")[2]


def _settings(grid: Sequence[tuple[str, Any]], starter: str) -> Iterator[Setting]:
    """All combinations, without keys of other algorithms, which would only repeat runs."""
    others = ALGORITHMS.keys() - {algo_of(starter)}
    own = [(key, values) for key, values in grid if key.split(".")[0] not in others]
    keys = [key for key, _ in own]
    for values in product(*(values for _, values in own)):
        yield dict(zip(keys, values, strict=True))


def _trial(
    args: Namespace,
    starter: str,
    setting: Setting,
    task: tuple[str, ...],
    seed: int,
    name: str | None,
) -> Trial:
    algo, multi_task = algo_of(starter), starter.startswith("mt_")
    device = "cuda" if args.gpus else "cpu"  # Ray shows a run only its own GPU
    argv = [*task, "--seed", str(seed), "--log_dir", str(args.log_dir.absolute())]
    argv += ["--device", device, "--resume"]
    if args.until:
        argv += ["--until", args.until.flag]
    if args.config:
        argv += ["--config", str(args.config)]
    values = [f"{key}={json.dumps(value)}" for key, value in setting.items()]
    argv += [part for text in [*args.set, *values] for part in ("--set", text)]
    name = name or _experiment(args, argv, algo, setting, multi_task=multi_task)
    argv += ["--id", name]
    own = flags.parse(algo, argv, multi_task=multi_task)
    config, folder, resuming, named = request(own, algo, multi_task=multi_task)
    if resuming:  # also without --config, where a starter takes over whatever run is there
        with_allowed_changes(config, named, folder / "params.json")
    else:  # a run uses only the requested CPUs
        system = resolve(config, cores=args.cpus).system
        argv += ["--set", f"system.threads={system.threads}"]
        argv += ["--set", f"system.workers={system.workers}"]
    done = epochs_of_result(folder) >= config.total_epochs
    done = done or (args.until is not None and Run(folder).has_reached(args.until))
    return Trial(starter, tuple(argv), folder, config.total_frames, done, args.until)


def _experiment(
    args: Namespace, argv: Sequence[str], algo: str, setting: Setting, *, multi_task: bool
) -> str:
    """The starter's experiment name, or ``--id``, followed by the setting."""
    if args.id:
        name = args.id + ("" if algo == "sac" else f"_{algo}")
    else:
        own = flags.parse(algo, argv, multi_task=multi_task)
        named = own.config is not None and "algo" in read_tree(own.config)
        name = experiment_name(own, algo, names_algo=named)
    name = "-".join([name, *(f"{key}_{_word(value)}" for key, value in setting.items())])
    if len(name.encode()) > MAX_NAME:
        raise UserError(f"--grid: {name} is longer than a folder name can be")
    return name


def _word(value: Any) -> str:
    """A value as part of a folder name."""
    bare = re.sub(r"[\[\]{}\" ]", "", json.dumps(value))
    return re.sub(r"[^A-Za-z0-9_.+-]", "-", bare)


def parse_seeds(text: str) -> list[int]:
    """Parse ``1-5,8``.

    Raises:
        UserError: it is not a list of numbers and ranges.
    """
    return [number for part in text.split(",") for number in _span("--seeds", part)]


def parse_tasks(text: str) -> list[tuple[str, ...]]:
    """Parse ``0-9`` or ``reach-v3,door-open-v3`` into flags of a starter.

    Raises:
        UserError: an invalid range.
    """
    tasks: list[tuple[str, ...]] = []
    for part in text.split(","):
        if part[:1].isdecimal():
            tasks += [("--task_id", str(index)) for index in _span("--tasks", part)]
        else:
            tasks.append(("--task", part))
    return tasks


def _span(flag: str, text: str) -> range:
    match = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", text, re.ASCII)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not 0 <= last - first < MAX_SPAN:
        raise UserError(
            f"{flag}: {text!r} must be a number or a range such as 1-5, of at most {MAX_SPAN}"
        )
    return range(first, last + 1)


def parse_grid(text: str) -> tuple[str, list[Any]]:
    """Parse ``key=[value, …]``.

    Raises:
        UserError: no key, or not a JSON list of distinct values.
    """
    key, _, values = text.partition("=")
    try:
        parsed = parse_json(values)
    except (ValueError, RecursionError):
        parsed = None
    if not key.strip() or not isinstance(parsed, list) or not parsed:
        raise UserError(f"--grid {text}: must be 'section.key=[value, …]' with a JSON list")
    if len({json.dumps(value) for value in parsed}) < len(parsed):
        raise UserError(f"--grid {text}: a value occurs twice")
    return key.strip(), parsed


def check_starter(name: str) -> str:
    """
    Raises:
        UserError: unknown starter.
    """
    if name not in STARTERS:
        raise UserError(
            f"--starter: {name!r} is not one of {', '.join(STARTERS)}{nearest(name, STARTERS)}"
        )
    return name
