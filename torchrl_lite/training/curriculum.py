"""Which tasks are trained, and when that changes.

`Curriculum` has the rules and no state; `Stages` tracks where a run is in it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.config import Config, CurriculumConfig
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


class Curriculum:
    """Stages of tasks, and the rules for moving to the next stage.

    Stateless: methods map one `Progress` to the next. A run without a configured curriculum has
    one stage with all tasks and is complete from the start.
    """

    def __init__(self, config: CurriculumConfig | None, tasks: Sequence[str]) -> None:
        self._config, self._tasks = config, tasks
        stages = config.stages_of(tasks) if config else [list(tasks)]
        self.stages = [tuple(tasks.index(task) for task in stage) for stage in stages]
        """Task indices of each stage, ascending."""

    @property
    def start(self) -> Progress:
        if self._config is None:
            return Progress(complete=True)
        return Progress(self._config.first_stage)

    def collected(self, progress: Progress, frames: int) -> Progress:
        """Progress after an epoch of the stage's tasks."""
        if progress.complete:
            return progress
        return progress._replace(frames=progress.frames + frames)

    def is_due(self, progress: Progress) -> bool:
        """Whether to check the success of the stage's tasks now.

        There are no checks before ``min_frames_per_stage``: they could not change anything.
        """
        if self._config is None or progress.complete:
            return False
        since = progress.frames - progress.checked
        regular = since >= self._config.stage_eval_frames and self._may_pass(progress)
        return regular or self._has_to_end(progress)

    def checked(self, progress: Progress, success: float) -> Progress:
        """Progress after a check with this mean success over the stage's tasks.

        There is no way back: later success on the tasks of a passed stage changes nothing.
        """
        passed = self._may_pass(progress) and success >= self.threshold(progress.stage)
        if not (passed or self._has_to_end(progress)):
            return progress._replace(checked=progress.frames)
        if self._is_last(progress):
            return progress._replace(checked=progress.frames, complete=True)
        return Progress(progress.stage + 1)

    def threshold(self, stage: int) -> float:
        """The mean success that passes a stage."""
        assert self._config is not None, "without a curriculum there is nothing to pass"
        thresholds = self._config.thresholds
        return thresholds[min(stage, len(thresholds) - 1)]

    def story(self, before: Progress, after: Progress, success: float) -> str:
        """A message about the end of a stage."""
        needed = self.threshold(before.stage)
        how = "passed" if success >= needed else "ended by max_frames_per_stage"
        then = f"stage {after.stage} is {self._names(after.stage)}"
        return (
            f"stage {before.stage} {how} after {before.frames} frames: success {success:.2f}, "
            f"{needed:.2f} needed, over {self._names(before.stage)}; "
            f"{'complete, training continues' if after.complete else then}"
        )

    def _names(self, stage: int) -> str:
        return ", ".join(self._tasks[task] for task in self.stages[stage])

    def _may_pass(self, progress: Progress) -> bool:
        assert self._config is not None
        return progress.frames >= self._config.min_frames_per_stage

    def _has_to_end(self, progress: Progress) -> bool:
        """Whether the stage reached ``max_frames_per_stage``; the last stage never has to end."""
        assert self._config is not None
        limit = self._config.max_frames_per_stage
        return limit is not None and progress.frames >= limit and not self._is_last(progress)

    def _is_last(self, progress: Progress) -> bool:
        return progress.stage == len(self.stages) - 1


class Forgetting:
    """Per task, the best success of all earlier evaluations minus the current success.

    Chaudhry et al. 2018, "Riemannian Walk" (arXiv:1801.10112). Continual World (Wolczyk et al.
    2021, arXiv:2105.10919) uses the success at the end of the task's training instead of the best.
    The two agree if a task left at its best; this definition also covers tasks that are still
    being trained. Negative values are new bests.
    """

    def __init__(self) -> None:
        self.best: dict[str, float] = {}

    def update(self, success: Mapping[str, float]) -> dict[str, float]:
        """Add an evaluation; returns the forgetting of every task that was evaluated before."""
        lost = {task: self.best[task] - now for task, now in success.items() if task in self.best}
        for task, now in success.items():
            self.best[task] = max(now, self.best.get(task, now))
        return lost


class Check(NamedTuple):
    """Result of a stage's check; ``story`` is a message if the stage ended."""

    stage: int
    success: float
    story: str | None


class Stages:
    """The current stage of a run and its tasks, for the epoch loop.

    A run without a curriculum has one stage. With overlapping epochs there are up to three:
    ``stage``, of the transitions being learned from; the stage of the epoch being collected; and
    ``decided``, of future epochs.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._curriculum = Curriculum(config.curriculum, config.env.tasks)
        self._progress = self._curriculum.start
        self._forgetting = Forgetting()
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
        """The tasks being trained."""
        return self._curriculum.stages[self.stage]

    @property
    def decided_tasks(self) -> Sequence[int]:
        return self._curriculum.stages[self.decided]

    def epoch_frames(self, stage: int) -> int:
        """Transitions in an epoch of a stage."""
        tasks = self._curriculum.stages[stage]
        return self._config.frames_per_epoch // self._config.num_tasks * len(tasks)

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
        return sorted(set(self._curriculum.stages[before]) - set(self.tasks))

    def collected(self) -> None:
        """Count the collected epoch if its stage is the decided one."""
        if self.stage == self.decided:
            frames = self.epoch_frames(self.stage)
            self._progress = self._curriculum.collected(self._progress, frames)

    def is_due(self) -> bool:
        """Whether to check the stage now."""
        return self._curriculum.is_due(self._progress)

    def check_told(self, episodes: Sequence[EpisodeStats]) -> None:
        """Check that tasks report success: at the first finished episodes, not at the first check.

        Raises:
            UserError: there is a curriculum, and an episode did not report success.
        """
        names = self._config.env.tasks
        silent = {names[stats.task] for stats in episodes if stats.success is None}
        if self._config.curriculum is not None and silent:
            raise UserError(
                "curriculum: stages are passed by success, which is not reported by "
                f"{', '.join(sorted(silent))}"
            )

    def check(self, episodes: Sequence[EpisodeStats]) -> Check:
        """Check the decided stage with these episodes; move to the next stage if it is passed."""
        self.check_told(episodes)
        self.check_frames += sum(stats.length for stats in episodes)
        success = success_rate(episodes)
        assert success is not None
        before = self._progress
        self._progress = after = self._curriculum.checked(before, success)
        ended = (after.stage, after.complete) != (before.stage, before.complete)
        story = self._curriculum.story(before, after, success) if ended else None
        return Check(before.stage, success, story)

    def forgotten(self, evaluation: Row) -> Row:
        """Forgetting per task as log columns; empty without a curriculum."""
        if self._config.curriculum is None:
            return {}
        success = {task: evaluation[f"eval_success/{task}"] for task in self._config.env.tasks}
        lost = self._forgetting.update({t: float(s) for t, s in success.items() if s is not None})
        return {f"forgetting/{task}": value for task, value in lost.items()}

    def state_dict(self) -> dict[str, Any]:
        return {
            "progress": list(self._progress),
            "stage": self.stage,
            "submitted": self._submitted,
            "check_frames": self.check_frames,
            "best_success": dict(self._forgetting.best),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._progress = Progress(*state["progress"])
        self.stage, self._submitted = state["stage"], state["submitted"]
        if max(self.stage, self._submitted, self.decided) >= len(self._curriculum.stages):
            raise ValueError(f"a stage that is none of {len(self._curriculum.stages)}")
        self.check_frames = state["check_frames"]
        self._forgetting.best = dict(state["best_success"])


def columns(tasks: Iterable[str]) -> list[str]:
    """Additional log columns of a run with a curriculum."""
    return [
        "stage/success",
        "stage/check_frames",
        *(f"forgetting/{task}" for task in tasks),
    ]
