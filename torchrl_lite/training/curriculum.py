"""Which tasks are trained, and when that changes.

`Curriculum` is a pure function of frames and success, `Stages` where a run is in it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.config import Config, CurriculumConfig
from torchrl_lite.errors import UserError
from torchrl_lite.reporting.console import Row
from torchrl_lite.training.evaluation import success_rate


class Progress(NamedTuple):
    """Where a run is in its curriculum; all that the rest of it depends on."""

    stage: int = 0
    """The stage that is being trained for, counted from 0."""
    frames: int = 0
    """Transitions that were collected in it, as long as that matters."""
    checked: int = 0
    """How many those were at its last check."""
    complete: bool = False
    """The last stage is passed; training in it goes on, unchecked."""


class Curriculum:
    """Stages of tasks and the rules by which one follows another.

    It has no state: every method maps a `Progress` to the next. A run without a configured
    curriculum has one stage of all its tasks and is complete from the start.
    """

    def __init__(self, config: CurriculumConfig | None, tasks: Sequence[str]) -> None:
        self._config, self._tasks = config, tasks
        stages = config.stages_of(tasks) if config else [list(tasks)]
        self.stages = [tuple(tasks.index(task) for task in stage) for stage in stages]
        """Indices of the tasks of each stage, rising."""

    @property
    def start(self) -> Progress:
        if self._config is None:
            return Progress(complete=True)
        return Progress(self._config.first_stage)

    def collected(self, progress: Progress, frames: int) -> Progress:
        """After an epoch of the stage's own tasks."""
        if progress.complete:
            return progress
        return progress._replace(frames=progress.frames + frames)

    def is_due(self, progress: Progress) -> bool:
        """Whether to check the success of the stage's tasks now.

        None is made before a stage's smallest number of frames: it could not change anything.
        """
        if self._config is None or progress.complete:
            return False
        since = progress.frames - progress.checked
        regular = since >= self._config.stage_eval_frames and self._may_pass(progress)
        return regular or self._has_to_end(progress)

    def checked(self, progress: Progress, success: float) -> Progress:
        """After a check with this mean success over the stage's tasks.

        There is no way back: what happens to a stage's success once it is passed changes nothing.
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
        """A line about the end of a stage, for people."""
        needed = self.threshold(before.stage)
        how = "passed" if success >= needed else "ended by max_frames_per_stage"
        then = f"stage {after.stage} is {self._names(after.stage)}"
        return (
            f"stage {before.stage} {how} after {before.frames} frames: success {success:.2f}, "
            f"{needed:.2f} needed, over {self._names(before.stage)}; "
            f"{'complete, training goes on' if after.complete else then}"
        )

    def _names(self, stage: int) -> str:
        return ", ".join(self._tasks[task] for task in self.stages[stage])

    def _may_pass(self, progress: Progress) -> bool:
        assert self._config is not None
        return progress.frames >= self._config.min_frames_per_stage

    def _has_to_end(self, progress: Progress) -> bool:
        """The last stage never has to: there is nothing to go on to."""
        assert self._config is not None
        limit = self._config.max_frames_per_stage
        return limit is not None and progress.frames >= limit and not self._is_last(progress)

    def _is_last(self, progress: Progress) -> bool:
        return progress.stage == len(self.stages) - 1


class Forgetting:
    """Per task, the best success of any earlier evaluation minus the success now.

    Chaudhry et al. 2018, "Riemannian Walk" (arXiv:1801.10112). Continual World (Wolczyk et al.
    2021, arXiv:2105.10919) takes the success at the end of the task's training in place of the
    best; the two agree where a task left at its best, and this one is also defined for tasks that
    are still being trained. Negative values are new bests.
    """

    def __init__(self) -> None:
        self.best: dict[str, float] = {}

    def update(self, success: Mapping[str, float]) -> dict[str, float]:
        """Takes in an evaluation; returns the forgetting of every task that was measured before."""
        lost = {task: self.best[task] - now for task, now in success.items() if task in self.best}
        for task, now in success.items():
            self.best[task] = max(now, self.best.get(task, now))
        return lost


class Check(NamedTuple):
    """What a check of a stage found; ``story`` is told where the stage ended by it."""

    stage: int
    success: float
    story: str | None


class Stages:
    """What the epoch loop asks about its tasks, and all that changes about them.

    A run without a curriculum has one stage. Where epochs overlap, up to three are of interest:
    ``stage``, of the transitions that are learned from; that of the epoch which is being
    collected; and ``decided``, of the epochs to come.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._curriculum = Curriculum(config.curriculum, config.env.tasks)
        self._progress = self._curriculum.start
        self._forgetting = Forgetting()
        self.stage = self._submitted = self.decided
        self.check_frames = 0
        """Frames of all checks so far; they are no training frames."""

    @property
    def decided(self) -> int:
        return self._progress.stage

    @property
    def complete(self) -> bool:
        return self._progress.complete

    @property
    def tasks(self) -> Sequence[int]:
        """The tasks that are trained now."""
        return self._curriculum.stages[self.stage]

    @property
    def decided_tasks(self) -> Sequence[int]:
        return self._curriculum.stages[self.decided]

    def epoch_frames(self, stage: int) -> int:
        """Transitions that an epoch of a stage brings."""
        tasks = self._curriculum.stages[stage]
        return self._config.frames_per_epoch // self._config.num_tasks * len(tasks)

    def submit(self) -> Sequence[int]:
        """Tasks of the epoch that starts now."""
        self._submitted = self.decided
        return self.decided_tasks

    def arrive(self) -> list[int] | None:
        """The submitted epoch is there. Tasks that left with it; None where the stage stays."""
        before, self.stage = self.stage, self._submitted
        if before == self.stage:
            return None
        return sorted(set(self._curriculum.stages[before]) - set(self.tasks))

    def collected(self) -> None:
        """Counts the epoch that is there, where it is of the stage that is decided on."""
        if self.stage == self.decided:
            frames = self.epoch_frames(self.stage)
            self._progress = self._curriculum.collected(self._progress, frames)

    def is_due(self) -> bool:
        """Whether the stage is to be checked now."""
        return self._curriculum.is_due(self._progress)

    def check_told(self, episodes: Sequence[EpisodeStats]) -> None:
        """With the first episode that ends, not when the first stage could be passed.

        Raises:
            UserError: there is a curriculum and an episode told nothing of success.
        """
        names = self._config.env.tasks
        silent = {names[stats.task] for stats in episodes if stats.success is None}
        if self._config.curriculum is not None and silent:
            raise UserError(
                "curriculum: stages are passed by success; none is told by "
                f"{', '.join(sorted(silent))}"
            )

    def check(self, episodes: Sequence[EpisodeStats]) -> Check:
        """Takes in episodes of the decided stage's tasks, and goes on where they allow it."""
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
        """What each task lost since its best evaluation, where there is a curriculum."""
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
        self.check_frames = state["check_frames"]
        self._forgetting.best = dict(state["best_success"])


def columns(tasks: Iterable[str]) -> list[str]:
    """What a run with a curriculum logs beyond any other."""
    return [
        "stage/success",
        "stage/check_frames",
        *(f"forgetting/{task}" for task in tasks),
    ]
