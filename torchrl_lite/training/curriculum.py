"""Which tasks are trained, and when that changes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.config import Config
from torchrl_lite.errors import UserError
from torchrl_lite.reporting.console import Row
from torchrl_lite.training.evaluation import success_rate


class Progress(NamedTuple):
    """A run's position in its curriculum, which determines everything that follows."""

    stage: int = 0
    """The current stage, counted from 0."""
    frames: int = 0
    """Transitions collected in this stage; not counted once complete."""
    checked: int = 0
    """``frames`` at the last check."""
    complete: bool = False
    """Whether the last stage is passed; training continues in it without checks."""


class Check(NamedTuple):
    """Result of a stage's check; ``story`` is a message if the stage ended."""

    stage: int
    success: float
    story: str | None


class Stages:
    """The current stage of a run and its tasks, and the rules for moving to the next stage.

    A run without a curriculum has one stage with all tasks, and is complete from the start. With
    overlapping epochs there are up to three stages: ``stage``, of the transitions being learned
    from; the stage of the epoch being collected; and ``decided``, of future epochs. There is no way
    back: later success on the tasks of a passed stage changes nothing.
    """

    def __init__(self, config: Config) -> None:
        self._config, curriculum, tasks = config, config.curriculum, config.env.tasks
        stages = curriculum.stages_of(tasks) if curriculum else [list(tasks)]
        self._stages = [tuple(tasks.index(task) for task in stage) for stage in stages]
        first = curriculum.first_stage if curriculum else 0
        self._progress = Progress(first, complete=curriculum is None)
        self._best_success: dict[str, float] = {}
        self.stage = self._submitted = self.decided
        self.check_frames = 0
        """Frames of all checks so far; they are not training frames."""

    @property
    def decided(self) -> int:
        return self._progress.stage

    @property
    def complete(self) -> bool:
        return self._progress.complete

    @property
    def tasks(self) -> Sequence[int]:
        """Indices of the tasks being trained, ascending."""
        return self._stages[self.stage]

    @property
    def decided_tasks(self) -> Sequence[int]:
        return self._stages[self.decided]

    def epoch_frames(self, stage: int) -> int:
        """Transitions in an epoch of a stage."""
        return self._config.frames_per_epoch // self._config.num_tasks * len(self._stages[stage])

    def submit(self) -> Sequence[int]:
        """Tasks of the epoch that is submitted now."""
        self._submitted = self.decided
        return self.decided_tasks

    def arrive(self) -> list[int] | None:
        """Mark the submitted epoch as collected; returns the tasks that left, or None if the stage
        is unchanged."""
        before, self.stage = self.stage, self._submitted
        if before == self.stage:
            return None
        return sorted(set(self._stages[before]) - set(self.tasks))

    def collected(self, frames: int) -> None:
        """Count the collected epoch if its stage is the decided one."""
        if self.stage == self.decided and not self.complete:
            self._progress = self._progress._replace(frames=self._progress.frames + frames)

    def is_due(self) -> bool:
        """Whether to check the stage now.

        There are no checks before ``min_frames_per_stage``: they could not change anything.
        """
        curriculum, progress = self._config.curriculum, self._progress
        if curriculum is None or progress.complete:
            return False
        since = progress.frames - progress.checked
        can_pass = progress.frames >= curriculum.min_frames_per_stage
        return (can_pass and since >= curriculum.stage_eval_frames) or self._must_end()

    def _must_end(self) -> bool:
        """Whether the stage reached ``max_frames_per_stage``; the last stage never has to end."""
        assert self._config.curriculum is not None
        limit = self._config.curriculum.max_frames_per_stage
        return limit is not None and self._progress.frames >= limit and not self._is_last()

    def _is_last(self) -> bool:
        return self.decided == len(self._stages) - 1

    def check_reports_success(self, episodes: Sequence[EpisodeStats]) -> None:
        """Check that tasks report success: at the first finished episodes, not at the first check.

        Raises:
            UserError: there is a curriculum, and an episode did not report success.
        """
        names = self._config.env.tasks
        silent = {names[stats.task] for stats in episodes if stats.success is None}
        if self._config.curriculum is not None and silent:
            raise UserError(
                "curriculum: stages are passed by success, which every episode must report; one of "
                f"{', '.join(sorted(silent))} did not"
            )

    def check(self, episodes: Sequence[EpisodeStats]) -> Check:
        """Check the decided stage, when `is_due`, with the mean success of these episodes; move to
        the next stage if it is passed, or must end."""
        self.check_reports_success(episodes)
        self.check_frames += sum(stats.length for stats in episodes)
        success = success_rate(episodes)
        assert success is not None
        assert self._config.curriculum is not None
        thresholds, before = self._config.curriculum.thresholds, self._progress
        needed = thresholds[min(before.stage, len(thresholds) - 1)]
        passed = success >= needed
        if not (passed or self._must_end()):
            self._progress = before._replace(checked=before.frames)
            return Check(before.stage, success, None)
        how = "passed" if passed else "ended by max_frames_per_stage"
        story = (
            f"stage {before.stage} {how} after {before.frames} frames: success {success:.2f}, "
            f"{needed:.2f} needed, over {self._names(before.stage)}"
        )
        if self._is_last():
            self._progress = before._replace(checked=before.frames, complete=True)
            return Check(before.stage, success, f"{story}; complete, training continues")
        self._progress = Progress(before.stage + 1)
        story += f"; stage {self.decided} is {self._names(self.decided)}"
        return Check(before.stage, success, story)

    def _names(self, stage: int) -> str:
        return ", ".join(self._config.env.tasks[task] for task in self._stages[stage])

    def forgotten(self, evaluation: Row) -> Row:
        """Forgetting per task, as log columns: the best success of all earlier evaluations minus
        the current success. Empty without a curriculum; negative values are new bests.

        Chaudhry et al. 2018, "Riemannian Walk" (arXiv:1801.10112). Continual World (Wolczyk et al.
        2021, arXiv:2105.10919) uses the success at the end of the task's training instead of the
        best. The two agree if a task left at its best; this definition also covers tasks that are
        still being trained.
        """
        row: Row = {}
        for task in self._config.env.tasks if self._config.curriculum else ():
            success = evaluation[f"eval_success/{task}"]
            if success is not None:
                now, best = float(success), self._best_success.get(task)
                if best is not None:
                    row[f"forgetting/{task}"] = best - now
                self._best_success[task] = now if best is None else max(now, best)
        return row

    def state_dict(self) -> dict[str, Any]:
        return {
            "progress": list(self._progress),
            "stage": self.stage,
            "submitted": self._submitted,
            "check_frames": self.check_frames,
            "best_success": dict(self._best_success),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._progress = Progress(*state["progress"])
        self.stage, self._submitted = state["stage"], state["submitted"]
        if max(self.stage, self._submitted, self.decided) >= len(self._stages):
            raise ValueError(f"a stage that is none of {len(self._stages)}")
        self.check_frames = state["check_frames"]
        self._best_success = dict(state["best_success"])


def columns(tasks: Iterable[str]) -> list[str]:
    """Additional log columns of a run with a curriculum."""
    return ["stage/success", "stage/check_frames", *(f"forgetting/{task}" for task in tasks)]
