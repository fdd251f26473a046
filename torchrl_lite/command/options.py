"""From flags to a checked configuration, a run directory and a device.

Every file is read once, and every mistake is a `UserError`.
"""

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import torch

from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.command.folder import is_to_resume
from torchrl_lite.config import (
    Config,
    check,
    flat,
    load,
    machine,
    merge,
    nest,
    parse_override,
    read_tree,
)
from torchrl_lite.config.shipped import shipped_folder
from torchrl_lite.config.trust import check_cluster, check_imports
from torchrl_lite.env import metaworld
from torchrl_lite.errors import UserError, first_line

RESUMABLE = (
    "train.num_epochs",
    "train.eval_interval",
    "train.save_interval",
    "train.keep_checkpoints",
    "train.snapshot_interval",
    "train.final_eval_episodes",
    "train.demos",
    "system.workers",
    "system.env_timeout_s",
    "system.grace_seconds",
    "system.ray.*",
    "log.console",
    "log.video",
    "log.wandb_project",
)
"""Fields that ``--resume`` may change."""
RESOLVED = {"system.workers", "system.accel", "system.threads", "env.reward_normalization"}
"""Fields whose ``auto`` depends on the machine or other fields; a run stores the resolved value."""

Tree = dict[str, Any]
Override = tuple[list[str], Any]
"""The path of a field, and its value."""


class Request(NamedTuple):
    """A checked command line."""

    config: Config
    """``auto`` is not resolved yet; see `resolve`."""
    folder: Path
    """The run directory."""
    resuming: bool
    """``folder`` holds a run to resume, and ``config`` is that run's."""
    named: Config
    """What the flags say without that run: without ``--config``, the default configuration."""


def request(args: Namespace, algo: str, *, multi_task: bool | None) -> Request:
    """Reads and checks what a starter's flags ask for; ``multi_task`` as in `flags.parse`.

    Raises:
        UserError: a mistake, or an existing run without ``--resume``.
    """
    if multi_task and args.config is None:
        raise UserError("--config: a multi-task starter needs one, e.g. config/mt10.json")
    overrides = _overrides(args)
    read = read_tree(args.config) if args.config else {}
    task = None if multi_task else _task(args, _with_overrides(read, overrides))
    path = args.config or _default_config(task)
    read = read or read_tree(path)
    config = named = _requested(args, path, read, overrides, algo=algo, task=task)
    if config.num_tasks > 1 and multi_task is False:
        raise UserError(
            f"env.tasks: {config.num_tasks} tasks; this starter trains one, use mt_{algo}.py"
        )
    name = args.id or experiment_name(args, algo, names_algo="algo" in read)
    # Absolute, since an environment may change the current directory.
    folder = args.log_dir.absolute() / name / config.env.set_name / str(args.seed)
    resuming = is_to_resume(folder, seed=args.seed, resume=args.resume)
    if resuming:
        config = resumed(
            folder / "params.json",
            named,
            overrides if args.config is None else None,
            algo=algo,
            trusted=args.trust_imports,
        )
    return Request(config, folder, resuming, named)


def _requested(
    args: Namespace,
    path: Path,
    read: Tree,
    overrides: Sequence[Override],
    *,
    algo: str,
    task: str | None,
) -> Config:
    """The configuration file with the changes of the flags."""
    overridden = [parse_override(text)[0] for text in args.set]
    tree = _with_overrides(read, overrides)
    if "stage" in args and args.stage is not None:
        if tree.get("curriculum") is None:
            raise UserError(f"--stage: {path} has no curriculum")
        overrides = [*overrides, (["curriculum", "first_stage"], args.stage)]
        tree = _with_overrides(read, overrides)
    if "task" not in args:  # a multi-task starter
        return check(tree, algo=algo, sections=SECTIONS, source=str(path), overridden=overridden)
    if task is not None:
        if any(_names_tasks(*override) for override in overrides):
            raise UserError(f"--set env.tasks: --task or --task_id already chose {task}")
        tree = _with_overrides(read, [(["env", "tasks"], [task]), *overrides])
    elif "tasks" not in _env(tree):
        raise UserError(
            f"env.tasks: no task; give --task_id with one of {metaworld.ten()}, or --task NAME"
        )
    return check(tree, algo=algo, sections=SECTIONS, source=str(path), overridden=overridden)


def _overrides(args: Namespace) -> list[Override]:
    """``--set``, and ``--init_from`` as an absolute path in ``transfer.init_from``."""
    overrides = [parse_override(text) for text in args.set]
    if args.init_from is None:
        return overrides
    return [*overrides, (["transfer", "init_from"], str(args.init_from.absolute()))]


def _with_overrides(tree: Mapping[str, Any], overrides: Sequence[Override]) -> Tree:
    result = dict(tree)
    for path, value in overrides:
        result = merge(result, nest(path, value))
    return result


def _env(tree: Tree) -> Tree:
    env = tree.get("env", {})
    return env if isinstance(env, dict) else {"tasks": None}  # `check` reports it later


def _check_gymnasium(args: Namespace, env: Tree) -> None:
    named = args.task is not None or args.task_id is not None
    if named or "tasks" not in env:
        what = "--task, --task_id: only for Meta-World" if named else "env.tasks: no task"
        raise UserError(
            f'{what}; with env.suite "gymnasium", set env.tasks, e.g. '
            """--set 'env.tasks=["Pendulum-v1"]'"""
        )


def _names_tasks(path: Sequence[str], value: Any) -> bool:
    whole = path == ["env"] and isinstance(value, dict) and "tasks" in value
    return whole or path == ["env", "tasks"]


def _task(args: Namespace, tree: Tree) -> str | None:
    """The Meta-World task named by a flag; ``tree`` is the configuration it belongs to."""
    if _env(tree).get("suite") == "gymnasium":
        _check_gymnasium(args, _env(tree))
        return None
    if args.task is not None and args.task_id is not None:
        raise UserError("--task and --task_id: give only one")
    if args.task_id is not None:
        if args.task_id not in [str(index) for index in range(len(metaworld.MT10))]:
            raise UserError(f"--task_id: {args.task_id!r} is not one of {metaworld.ten()}")
        return metaworld.MT10[int(args.task_id)]
    return None if args.task is None else metaworld.check_task(args.task, "--task")


def _default_config(task: str | None) -> Path:
    configs = shipped_folder("config")
    own = configs / "mt10_tasks" / f"{task}.json"
    return own if own.exists() else configs / "base_st.json"


def experiment_name(args: Namespace, algo: str, *, names_algo: bool) -> str:
    """Default of ``--id``; ``names_algo``: the configuration names its algorithm."""
    behind = "" if algo == "sac" else f"_{algo}"
    if args.config is None:
        return f"MT10_Individual_Tasks{behind}"
    return args.config.stem + ("" if names_algo else behind)


def find_device(name: str) -> torch.device:
    """
    Raises:
        UserError: this machine has no such device, or it does not work.
    """
    there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    full = {"auto": "cuda:0" if len(there) > 1 else "cpu", "cuda": "cuda:0"}.get(name, name)
    if full not in there:
        raise UserError(f"--device: {name!r} is not available; choose from {', '.join(there)}")
    device = torch.device(full)
    try:
        torch.ones(1, device=device)
    except RuntimeError as error:  # such as an old driver, or a GPU that this torch has no code for
        why = first_line(error)
        raise UserError(f"--device: {full} does not work ({why}); choose cpu") from None
    return device


def resolve(config: Config, *, cores: int | None = None) -> Config:
    """Resolves every ``auto`` that depends on the machine or other fields.

    ``cores`` is the number of CPU cores for the run; default: all available to this process.
    """
    threads, cores = cores or machine.threads(), cores or machine.cores()
    env, system = config.env, config.system
    groups = env.num_groups
    auto: dict[str, Any] = {
        "workers": min(cores, groups) if groups > 1 or system.overlap else 0,
        "accel": "eager",
        "threads": threads,
    }
    chosen = {name: value for name, value in auto.items() if getattr(system, name) == "auto"}
    changes: dict[str, Any] = {"system": system.model_copy(update=chosen)}
    if config.train.demos is not None:  # for a resume from another directory
        demos = {"demos": str(Path(config.train.demos).absolute())}
        changes["train"] = config.train.model_copy(update=demos)
    scale = {"reward_normalization": config.reward_normalization}
    return config.model_copy(update=changes | {"env": env.model_copy(update=scale)})


def resumed(
    stored: Path,
    named: Config,
    overrides: Sequence[Override] | None = None,
    *,
    algo: str | None = None,
    trusted: bool = False,
) -> Config:
    """The ``stored`` configuration of a run with the changes to that of ``named``, what the user
    asks for; with ``overrides``, only these changes. ``trusted``: as ``--trust_imports``.

    Raises:
        UserError: a field that is not in ``RESUMABLE`` would change, or the run imports packages or
            joins a cluster that the user has not named.
    """
    own = load(stored, sections=SECTIONS, algo=algo)
    if not trusted:
        check_imports([n for n in own.env.imports if n not in named.env.imports], stored)
    new = named
    if overrides is not None:
        changed = _with_overrides(own.model_dump(), overrides)
        new = check(changed, algo=algo, sections=SECTIONS, source="--set")
    config = with_allowed_changes(own, new, stored)
    if not trusted:
        check_cluster(config, stored, named=named.system.ray.address)
    return config


def with_allowed_changes(own: Config, new_config: Config, stored: Path) -> Config:
    """A run's ``own`` configuration, read from ``stored``, with the changes of a new one.

    Raises:
        UserError: a field that a resumed run may not change.
    """
    tree, new = own.model_dump(), flat(new_config.model_dump())
    old = flat(tree)
    for key in {**old, **new}:  # a section may be null in one of them
        value, wanted = old.get(key), new.get(key)
        if wanted == value or (wanted == "auto" and key in RESOLVED):
            continue
        if not any(fnmatchcase(key, allowed) for allowed in RESUMABLE):
            raise UserError(
                f"{key}: the run in {stored.parent} has {json.dumps(value)}; "
                f"with --resume only {', '.join(RESUMABLE)} may change "
                "(with --config, repeat every --set, --init_from and --stage of the first start, "
                f"or use --config {stored} with the run's --id and --seed)"
            )
        tree = merge(tree, nest(key.split("."), wanted))
    return check(tree, algo=own.algo, sections=SECTIONS, source="--resume")
