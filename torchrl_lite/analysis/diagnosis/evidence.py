"""What a run's files say, as the rules ask for it."""

from dataclasses import dataclass
from functools import cached_property
from math import inf
from pathlib import Path
from statistics import fmean, median, pstdev
from typing import Any, NamedTuple, Self

import numpy as np

from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.analysis.log import Log
from torchrl_lite.analysis.runs import Run
from torchrl_lite.config import check, flat, read_tree

LATE = 3
"""Number of values that "now" is the median of."""


class Finding(NamedTuple):
    problem: str
    """What is wrong, with the figure behind it."""
    advice: str
    """What to try."""


@dataclass(frozen=True)
class Evidence:
    """A run, with the fields of its configuration by full name and what was measured."""

    path: Path
    tasks: list[str]
    fields: dict[str, Any]
    log: Log
    final: dict[str, Any]
    """``result.json``; empty if the run has not ended."""

    @classmethod
    def of(cls, run: Run) -> Self:
        """
        Raises:
            UserError: a file is damaged.
        """
        path, final = run.path / "params.json", run.result.others if run.result else {}
        tree = read_tree(path)
        config = check(tree, algo=tree.get("algo"), sections=SECTIONS, source=str(path))
        fields = flat(config.model_dump(mode="json"))
        return cls(run.path, run.tasks, fields, run.log, final)

    # --- the configuration -----------------------------------------------------------------------

    def field(self, name: str) -> Any:
        """A field; None if this algorithm has none."""
        return self.fields.get(name)

    @property
    def algo(self) -> str:
        return str(self.field("algo"))

    def agent(self, name: str) -> Any:
        """A field of the algorithm's section."""
        return self.field(f"{self.algo}.{name}")

    @property
    def is_entropic(self) -> bool:
        """Whether the policy has a temperature, with the fields that SAC has for it."""
        return self.agent("target_entropy") is not None and self.agent("policy") == "gaussian"

    @property
    def horizon(self) -> float:
        """Steps that the discount looks ahead."""
        return 1 / max(1 - self.agent("discount"), 1e-6)

    @property
    def updates_to_settle(self) -> float:
        """Updates in which values pass through the target network over the whole horizon."""
        return self.horizon / max(self.tracking, 1e-6)

    @property
    def tracking(self) -> float:
        """Share of the way to the critics that their targets go in an update."""
        delay = self.agent("policy_delay") if self.algo == "td3" else None
        return self.agent("tau") / (self.agent("target_update_interval") or delay or 1)

    @property
    def has_stages(self) -> bool:
        """Whether a curriculum decides which tasks are trained. Evaluations are of all tasks."""
        return self.field("curriculum.kind") is not None

    # --- what was measured -----------------------------------------------------------------------

    def values(self, column: str) -> list[float]:
        """A column's cells from the first update on, without empty ones."""
        values = self.log.column(column)
        return values[~np.isnan(values) & (self.log.column("updates") != 0)].tolist()

    def now(self, column: str) -> float | None:
        """The median of its last values; None if there are none."""
        values = self.values(column)
        return median(values[-LATE:]) if values else None

    def early(self, column: str) -> float | None:
        """The median of its first values since the updates began."""
        values = self.values(column)
        return median(values[:LATE]) if values else None

    @cached_property
    def updates(self) -> int:
        return int(self.log[-1].get("updates", 0)) if self.log else 0

    @cached_property
    def frames(self) -> int:
        return int(self.log[-1]["total_frames"]) if self.log else 0

    @cached_property
    def trained_tasks(self) -> list[str]:
        """The tasks that the last epoch trained; all, as far as it is unknown."""
        if not self.has_stages or len(self.log) < 2:
            return self.tasks
        before, last = self.log[-2], self.log[-1]
        frames = {task: f"frames/{task}" for task in self.tasks}
        return [t for t, name in frames.items() if last.get(name, inf) > before.get(name, 0)]

    @cached_property
    def random_epochs(self) -> list[dict[str, float]]:
        """Epochs of random actions."""
        last = self.field("train.pretrain_epochs")
        return [row for row in self.log if row["epoch"] <= last]

    def random_return(self, task: str | None = None) -> tuple[float, float] | None:
        """Mean and standard deviation of the returns of random epochs; None without any."""
        column = f"rollout_return/{task}" if task else "rollout/ep_rew_mean"
        returns = [row[column] for row in self.random_epochs if column in row]
        if not returns and task and len(self.tasks) == 1:
            return self.random_return()
        return (fmean(returns), pstdev(returns)) if returns else None

    def improved(self, task: str | None = None) -> bool | None:
        """Whether evaluations are now clearly better than random actions; None if unknown. Of
        stages: in any of the trained tasks."""
        if task is None and self.has_stages:
            known = [one for name in self.trained_tasks if (one := self.improved(name)) is not None]
            return any(known) if known else None
        now = self.now(f"eval_return/{task}" if task else "eval/return")
        random = self.random_return(task)
        if now is None or random is None:
            return None
        mean, deviation = random
        return now > mean + 0.25 * abs(mean) + 2 * deviation

    @cached_property
    def never_succeeded(self) -> bool:
        """Whether the task reports success, and there was none, in evaluation or training."""
        evaluated = self.values("eval/success_rate")
        return bool(evaluated) and not any(evaluated + self.values("rollout/success_rate"))

    @cached_property
    def reward_per_step(self) -> float | None:
        """The largest mean reward of a step in any epoch, as the critics see it; None if a running
        scale changes it, or nothing was measured."""
        if self.field("env.reward_normalization") is not None:
            return None
        pairs = [
            ("eval/return", "eval/ep_len_mean"),
            ("rollout/ep_rew_mean", "rollout/ep_len_mean"),
        ]
        means = [
            abs(row[total]) / max(row[length], 1)
            for row in self.log
            for total, length in pairs
            if total in row and length in row
        ]
        return max(means) * self.agent("reward_scale") if means else None

    @cached_property
    def entropy_bonus(self) -> float:
        """The largest entropy bonus of a step in any epoch."""
        both = (row for row in self.log if "train/alpha" in row and "train/entropy" in row)
        return max((row["train/alpha"] * abs(row["train/entropy"]) for row in both), default=0.0)
