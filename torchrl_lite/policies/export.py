"""Exports a policy: its file, and a card generated from it; also to the Hugging Face Hub."""

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.analysis.tables import as_markdown
from torchrl_lite.checkpoint.files import write_text
from torchrl_lite.config import check
from torchrl_lite.errors import UserError
from torchrl_lite.policies import file as policy_file
from torchrl_lite.policies import hub, shipped
from torchrl_lite.policies.evaluate import summary
from torchrl_lite.policies.file import SUFFIX, PolicyHeader, TaskEvaluation
from torchrl_lite.policies.policy import Policy


def check_export(policy: Policy) -> None:
    """
    Raises:
        UserError: the policy is not from a run.
    """
    if not policy.versions:
        raise UserError("--export: needs a policy from a run that has its versions.json")


class Exported(NamedTuple):
    weights: Path
    card: Path
    header: PolicyHeader


def export(
    path: Path,
    policy: Policy,
    evaluation: Sequence[TaskEvaluation],
    held_out: Sequence[TaskEvaluation] = (),
) -> Exported:
    """Writes a policy file and its card to ``path`` with their suffixes.

    Raises:
        UserError: the policy is not from a run.
    """
    check_export(policy)
    name = path.name.removesuffix(SUFFIX)
    weights, text = path.with_name(name + SUFFIX), path.with_name(f"{name}.md")
    header = policy_file.write(weights, policy, evaluation, held_out=held_out)
    ships = weights.parent.resolve() == shipped.FOLDER.resolve()
    source = f"--pretrained {name}" if ships else f"--checkpoint {weights.name}"
    write_text(text, card(name, header, source=source))
    return Exported(weights, text, header)


FRONT = """---
library_name: torchrl_lite
tags: [reinforcement-learning, robotics, {suite}, {algo}]
---

"""
"""What the Hub reads of a card."""


def push(
    name: str,
    policy: Policy,
    evaluation: Sequence[TaskEvaluation],
    held_out: Sequence[TaskEvaluation] = (),
) -> str:
    """Uploads a policy and its card to the repository ``USER/NAME``; returns its address.

    Raises:
        UserError: the policy is not from a run, or the Hub refused.
    """
    with TemporaryDirectory() as folder:
        files = export(Path(folder) / hub.FILE, policy, evaluation, held_out)
        front = FRONT.format(suite=policy.config.env.suite, algo=policy.config.algo)
        text = card(name.partition("/")[2], files.header, source=f"--pretrained {hub.SCHEME}{name}")
        files.card.unlink()
        write_text(Path(folder) / "README.md", front + text)
        return hub.upload(Path(folder), name)


def card(name: str, header: PolicyHeader, *, source: str) -> str:
    """A policy's card, in Markdown; ``source``: the flag of ``play`` that loads it."""
    algo = header.config["algo"]
    until = f"--until {header.frames}"
    episodes = len(header.evaluation[0].returns)
    if header.config["env"]["imports"]:
        source += " --trust_imports"
    has_goals = header.config["env"]["suite"] == "metaworld"
    where = " on the goals of its training, spread over all of them" if has_goals else ""
    return "\n".join(
        [
            f"# {name}",
            "",
            f"{algo.upper()}, {_frames(header)} frames, seed {header.seed}. Evaluated without "
            f"noise{where}.",
            "",
            *_table(header.evaluation),
            *_on_held_out(header.held_out),
            "To see it, to evaluate it again, and to train another (`params.json` is the "
            "configuration below):",
            "",
            "```bash",
            f"torchrl-lite play {source} --video {name}.gif",
            f"torchrl-lite play {source} --episodes {episodes}",
            f"torchrl-lite train {algo} --config params.json --seed {header.seed} {until}",
            "```",
            "",
            as_markdown(("trained with", "version"), header.versions.items()),
            "",
            "```json",
            json.dumps(header.config, indent=2),
            "```",
            "",
        ]
    )


def _frames(header: PolicyHeader) -> str:
    """Of a run that went on, or was to go on, also its total: the best weights were picked."""
    config = check(header.config, algo=header.config["algo"], sections=SECTIONS, source="card")
    # A curriculum collects fewer in some stages.
    whole = header.frames >= config.total_frames or config.curriculum is not None
    return f"{header.frames:,}" if whole else f"{header.frames:,} of {config.total_frames:,}"


def _on_held_out(evaluation: Sequence[TaskEvaluation]) -> list[str]:
    if not evaluation:
        return []
    return ["On goals that it was never trained on:", "", *_table(evaluation)]


def _table(evaluation: Sequence[TaskEvaluation]) -> list[str]:
    header = ("task", "episodes", "success", "95 % (Wilson)", "return", "95 % (bootstrap)")
    return [as_markdown(header, map(_cells, evaluation)), ""]


def _cells(evaluation: TaskEvaluation) -> list[str]:
    one = summary(evaluation)
    interval = "" if one.ret_low is None else f"{one.ret_low:.1f} to {one.ret_high:.1f}"
    return [*one.cells, interval]
