"""From flags to a configuration: what a user asks of a new run, and of one that goes on.

Everything here raises `ConfigError` for a mistake.
"""

import json
import os
from argparse import Namespace
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from torchrl_lite.algo import SECTIONS
from torchrl_lite.config import (
    Config,
    ConfigError,
    check,
    load,
    merge,
    nest,
    parse_override,
    read_tree,
)
from torchrl_lite.env import metaworld

CONFIGS = Path(__file__).parent.parent / "config"
RESUMABLE = (
    "train.num_epochs",
    "train.eval_interval",
    "train.save_interval",
    "system.workers",
    "system.ray.*",
    "log.*",
)
"""What may be changed when a run goes on."""
RESOLVED = {"system.workers", "system.accel", "system.threads", "env.reward_normalization"}
"""Fields whose ``auto`` depends on the machine or on other fields: a run stores what it chose."""


def requested(args: Namespace, algo: str, *, multi_task: bool) -> Config:
    """What the flags ask for, checked, with ``auto`` as it stands."""
    overrides = _overrides(args)
    if multi_task:
        if args.config is None:
            raise ConfigError("--config: a multi-task starter needs one, e.g. config/mt10.json")
        config = load(args.config, overrides, sections=SECTIONS, algo=algo)
        if args.stage is None:
            return config
        if config.curriculum is None:
            raise ConfigError(f"--stage: {args.config} has no curriculum")
        overrides.append(f"curriculum.first_stage={args.stage}")
        return load(args.config, overrides, sections=SECTIONS, algo=algo)
    env = _env_section(args.config or CONFIGS / "base_st.json", overrides)
    if env.get("suite") == "gymnasium":
        _check_gymnasium(args, env)
    task = _task(args)
    if task is not None:
        if any(_names_tasks(override) for override in overrides):
            raise ConfigError(f"--set env.tasks: {task} was named by --task or --task_id already")
        overrides.insert(0, f"env.tasks={json.dumps([task])}")
    elif "tasks" not in env:
        raise ConfigError(
            f"env.tasks: no task; give --task_id with one of {metaworld.ten()}, or --task NAME"
        )
    path = args.config or _default_config(task)
    config = load(path, overrides, sections=SECTIONS, algo=algo)
    if config.num_tasks > 1:
        raise ConfigError(
            f"env.tasks: {config.num_tasks} tasks; this starter trains one, mt_{algo}.py many"
        )
    return config


def _overrides(args: Namespace) -> list[str]:
    """``--set``, and ``--init_from`` as what it stands for; from any folder it is the same file."""
    if args.init_from is None:
        return list(args.set)
    return [*args.set, f"transfer.init_from={json.dumps(str(args.init_from.absolute()))}"]


def _env_section(path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """What is asked for in ``env``, unchecked."""
    tree = read_tree(path)
    for override in overrides:
        tree = merge(tree, nest(*parse_override(override)))
    env = tree.get("env", {})
    return env if isinstance(env, dict) else {"tasks": None}  # told by the check to come


def _check_gymnasium(args: Namespace, env: dict[str, Any]) -> None:
    named = args.task is not None or args.task_id is not None
    if named or "tasks" not in env:
        what = "--task, --task_id: for Meta-World" if named else "env.tasks: no task"
        raise ConfigError(
            f'{what}; with env.suite "gymnasium", tasks stand in env.tasks, as in '
            """--set 'env.tasks=["Pendulum-v1"]'"""
        )


def _names_tasks(override: str) -> bool:
    path, value = parse_override(override)
    whole = path == ["env"] and isinstance(value, dict) and "tasks" in value
    return whole or path == ["env", "tasks"]


def _task(args: Namespace) -> str | None:
    if args.task is not None and args.task_id is not None:
        raise ConfigError("--task and --task_id: give one of them")
    if args.task_id is not None:
        if args.task_id not in [str(index) for index in range(len(metaworld.MT10))]:
            raise ConfigError(f"--task_id: {args.task_id!r} is not one of {metaworld.ten()}")
        return metaworld.MT10[int(args.task_id)]
    return None if args.task is None else metaworld.check_task(args.task, "--task")


def _default_config(task: str | None) -> Path:
    own = CONFIGS / "mt10_tasks" / f"{task}.json"
    return own if own.exists() else CONFIGS / "base_st.json"


def experiment(args: Namespace, algo: str) -> str:
    """The first folder below the log directory."""
    if args.id is not None:
        return args.id
    behind = "" if algo == "sac" else f"_{algo}"
    if args.config is None:
        return f"MT10_Individual_Tasks{behind}"
    return args.config.stem + ("" if "algo" in read_tree(args.config) else behind)


def find_device(name: str) -> torch.device:
    """
    Raises:
        ConfigError: there is no such device here.
    """
    there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if name == "auto":
        return torch.device("cuda:0" if len(there) > 1 else "cpu")
    full = "cuda:0" if name == "cuda" else name
    if full not in there:
        raise ConfigError(f"--device: {name!r} is not there; there is {', '.join(there)}")
    return torch.device(full)


def resolve(config: Config, *, cores: int | None = None) -> Config:
    """Every ``auto`` that depends on the machine or on other fields becomes what it stands for.

    ``cores``: those that the run may use; by default all that this process may use.
    """
    cores = cores or len(os.sched_getaffinity(0))
    groups = -(-config.env.num_envs // config.env.group_size)
    workers = config.system.workers
    if workers == "auto":
        workers = min(cores, groups) if groups > 1 or config.system.overlap else 0
    auto: dict[str, Any] = {
        "system.workers": workers,
        "system.accel": "eager",
        "system.threads": cores,
        "env.reward_normalization": "ema" if config.env.reward_version == "v1" else None,
    }
    assert auto.keys() == RESOLVED
    tree = config.model_dump()
    for key, value in auto.items():
        path = key.split(".")
        if tree[path[0]][path[1]] == "auto":
            tree = merge(tree, nest(path, value))
    return check(tree, algo=config.algo, sections=SECTIONS, source="configuration")


def check_imports(config: Config, path: Path, *, named: Sequence[str] = ()) -> None:
    """
    Raises:
        ConfigError: a configuration found in ``path`` imports what the user has not ``named``.
    """
    foreign = [package for package in config.env.imports if package not in named]
    if foreign:
        raise ConfigError(
            f"env.imports: {path} would import {', '.join(foreign)}, which runs their code; give "
            "--trust_imports, or in training name them by --config or --set"
        )


def _check_cluster(config: Config, path: Path, *, named: str) -> None:
    """
    Raises:
        ConfigError: a configuration found in ``path`` joins a cluster that the user has not
            ``named``; what its nodes send is unpacked here, which can run any code.
    """
    ray = config.system.ray
    if config.system.workers == "ray" and ray.joins and ray.address != named:
        raise ConfigError(
            f"system.ray.address: {path} would join {ray.address}, whose nodes could run code "
            "here; give --trust_imports, or name it by --config or --set"
        )


def stored_config(path: Path, *, algo: str | None, imports: Sequence[str], trust: bool) -> Config:
    """The configuration that a run left behind, whoever made that run.

    What it imports would run code, so it must be among ``imports``, which the user named, or
    trusted as a whole.

    Raises:
        ConfigError: it is neither, or the file is no configuration.
    """
    config = load(path, sections=SECTIONS, algo=algo)
    if not trust:
        check_imports(config, path, named=imports)
    return config


def resumed(args: Namespace, new_config: Config, stored: Path, algo: str) -> Config:
    """The stored configuration with the changes that a run may meet.

    Raises:
        ConfigError: another change, by its key.
    """
    named = new_config.env.imports
    own = stored_config(stored, algo=algo, imports=named, trust=args.trust_imports)
    if args.config is not None:
        new = flat(new_config.model_dump())
    else:
        tree = own.model_dump()
        for override in _overrides(args):
            tree = merge(tree, nest(*parse_override(override)))
        new = flat(check(tree, algo=algo, sections=SECTIONS, source="--set").model_dump())
    tree = own.model_dump()
    old = flat(tree)
    for key in {**old, **new}:  # a section that is null in one has keys in the other
        value, wanted = old.get(key), new.get(key)
        if wanted == value or (wanted == "auto" and key in RESOLVED):
            continue
        if not any(fnmatchcase(key, allowed) for allowed in RESUMABLE):
            raise ConfigError(
                f"{key}: the run in {stored.parent} has {json.dumps(value)}; "
                f"with --resume only {', '.join(RESUMABLE)} may change "
                "(where a --config is given, so is every --set of the start)"
            )
        tree = merge(tree, nest(key.split("."), wanted))
    config = check(tree, algo=algo, sections=SECTIONS, source="--resume")
    if not args.trust_imports:
        _check_cluster(config, stored, named=new_config.system.ray.address)
    return config


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every field by its full name, such as ``sac.alpha``."""
    fields: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            fields |= flat(value, f"{prefix}{key}.")
        else:
            fields[f"{prefix}{key}"] = value
    return fields
