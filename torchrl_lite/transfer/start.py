"""Starts a run from the networks, temperatures and transitions of another run or file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from torchrl_lite.algo.learner import Learner
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.config import TransferConfig
from torchrl_lite.errors import UserError
from torchrl_lite.network.role import Role
from torchrl_lite.policies.sources import Source, read_source
from torchrl_lite.transfer.fitting import Report, load_module, load_temperatures
from torchrl_lite.transfer.pairing import Fit, pair_tasks
from torchrl_lite.transfer.transitions import Rewards, carry_over

WEIGHTS = {"actor": "actor", "critic": "critic", "alpha": "log_alpha"}
"""The transferable parts, and their names in a learner and in a file."""
FOLLOWERS = {"actor": "target_actor", "critic": "target"}
"""The target network of a part, if the learner has one: loaded from the file, else copied."""


class Start(NamedTuple):
    """How a run started."""

    notes: list[str]
    """Messages for the user."""
    origin: list[dict[str, Any]]
    """The chain of sources, nearest first, as plain data; empty if nothing was loaded."""
    rewards: dict[int, Rewards]
    """By task, the rewards of transitions that were loaded."""


def start_from(learner: Learner, buffer: ReplayBuffer, config: TransferConfig | None) -> Start:
    """Load what ``config`` names into a learner and, if requested, a replay buffer.

    Raises:
        UserError: there is nothing to read, a requested part is missing, ``task_map`` names an
            unknown task, or nothing of a part fits and that is not ``optional``.
    """
    if config is None:
        return Start([], [], {})
    if config.init_from is None:
        raise UserError("transfer: needs a source, set with --init_from; else it must be null")
    source = read_source(Path(config.init_from))
    asked = _asked(learner, source, config)
    report = load_weights(learner, source, load=asked, task_map=config.task_map)
    parts = [part for part in asked if any(n.startswith(WEIGHTS[part]) for n in report.loaded)]
    notes = _notes(learner, config, asked, parts, report)
    here, there = learner.spec.tasks, source.facts.tasks
    rows = pair_tasks(here, there, config.task_map, path=source.path) if there else {}
    pairs = {here[mine]: there[theirs] for mine, theirs in rows.items()}
    link: dict[str, Any] = {
        "path": config.init_from,
        "file": str(source.path),
        "sha256": source.sha256,
        "frames": source.facts.frames,
        "parts": parts,
        "tasks": pairs,
        **report._asdict(),
    }
    if there and not pairs:
        notes.append("none of its tasks is in this run; pair tasks with transfer.task_map")
    rewards: dict[int, Rewards] = {}
    if "buffer" in config.load:
        path = Path(config.init_from)
        link["buffer"], rewards = carry_over(path, buffer, learner.spec, config.task_map)
        link["parts"] = [*parts, "buffer"]
        notes.append(f"transitions: {link['buffer']['transitions']}")
    if set(parts) - {"alpha"}:  # networks were loaded
        frozen = config.freeze_updates if "actor" in parts else 0
        learner.start_gently(lr_multiplier=config.lr_multiplier, frozen_updates=frozen)
        still = f", actor and temperatures frozen for {frozen} updates" if frozen else ""
        notes.append(f"learning rates times {config.lr_multiplier}{still}")
    return Start(notes, [link, *source.facts.origin] if link["parts"] else [], rewards)


def _notes(
    learner: Learner, config: TransferConfig, asked: list[str], parts: list[str], report: Report
) -> list[str]:
    """What happened to the weights, as messages for the user.

    Raises:
        UserError: nothing fits of a part that is required.
    """
    needed = ["actor"] if config.load == "auto" else [p for p in asked if p in learner.optimizers]
    missing = " and the ".join(part for part in needed if part not in parts)
    if not missing:
        return [f"from {config.init_from}", *report.lines()]
    nothing = f"nothing in {config.init_from} fits the {missing}"
    if not config.optional:
        raise UserError(f"--init_from: {nothing} ({'; '.join(report.lines())})")
    scratch = "" if parts else ", training starts from scratch"
    return [f"warning: {nothing}{scratch}", *report.lines()]


def load_weights(
    learner: Learner,
    source: Source,
    *,
    load: Sequence[str] = ("actor",),
    task_map: Mapping[str, str] | None = None,
) -> Report:
    """Copy the tensors of these parts that fit, and their target networks.

    Raises:
        UserError: ``task_map`` names an unknown task, layers of the file do not fit together, or
            its networks compute something else with the same tensors.
    """
    fit = Fit.of(learner.spec, source.facts, task_map or {}, path=source.path)
    report, of_followers = Report([], [], []), Report([], [], [])
    try:
        for part in load:
            given = source.parts[WEIGHTS[part]]
            if part == "alpha":
                if part in learner.optimizers:
                    mine, theirs = learner.get_parameter("log_alpha"), given["log_alpha"]
                    load_temperatures(mine, theirs, fit=fit, report=report)
                else:
                    report.skipped.append("log_alpha (this run learns no temperature)")
                continue
            module = getattr(learner, part)
            _check_normalizer(module, given, source.path)
            load_module(module, given, part, fit=fit, report=report)
            follower = FOLLOWERS[part]
            if hasattr(learner, follower):
                own, given = getattr(learner, follower), source.parts.get(follower, {})
                own.load_state_dict(module.state_dict())
                load_module(own, given, follower, fit=fit, report=of_followers)
    except RuntimeError as error:
        message = f"--init_from: {source.path}: its tensors do not form a network ({error})"
        raise UserError(message) from None
    _check_function(learner, source, report)
    loaded = [getattr(learner, part).normalizer for part in load if part != "alpha"]
    if loaded and loaded[0] is not None:
        loaded[0].share(learner)
    return report


def _check_function(learner: Learner, source: Source, report: Report) -> None:
    """
    Raises:
        UserError: tensors were loaded into networks that differ where no tensor shows it.
    """
    here, there = learner.net, source.facts.net
    if there is None or not any(name.startswith(("actor", "critic")) for name in report.loaded):
        return
    pairs: dict[str, tuple[object, object]] = {
        "norm": (here.norm, there.norm),
        "residual": (here.residual, there.residual),
    }
    categorical = "scalar" not in (here.critic.kind, there.critic.kind)
    if categorical and any(name.startswith("critic") for name in report.loaded):
        pairs["critic.bound"] = here.critic.bound, there.critic.bound
    for key, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise UserError(
                f"--init_from: {source.path} was trained with another net.{key}; "
                f"set net.{key}={json.dumps(theirs)}"
            )


def _check_normalizer(module: Role, given: Mapping[str, Tensor], path: Path) -> None:
    """
    Raises:
        UserError: only one of the two networks normalises observations.
    """
    theirs = any(name.startswith("body.normalizer.") for name in given)
    if theirs != (module.normalizer is not None):
        how = "with" if theirs else "without"
        raise UserError(
            f"--init_from: {path} was trained {how} normalised observations; "
            f"set net.normalize_obs={str(theirs).lower()}"
        )


def _asked(learner: Learner, source: Source, config: TransferConfig) -> list[str]:
    """The parts to load from the source; those not learned here are reported as skipped."""
    there = [part for part, name in WEIGHTS.items() if name in source.parts]
    if config.load == "auto":
        return there
    for part in config.load:
        if part in learner.optimizers and part not in there:
            raise UserError(
                f"transfer.load: {source.path} holds no {part}; it holds {', '.join(there)}"
            )
    return [part for part in there if part in config.load]
