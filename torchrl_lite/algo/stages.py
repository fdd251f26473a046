"""Where a run is in its curriculum."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torchrl_lite.algo.evaluation import success_rate
from torchrl_lite.collector import EpisodeStats
from torchrl_lite.config import Config, ConfigError
from torchrl_lite.console import Row
from torchrl_lite.curriculum import Curriculum, Forgetting, Progress


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
            self._progress = self._one_more()

    def is_due(self) -> bool:
        """Whether the stage is to be checked now."""
        return self._curriculum.is_due(self._progress)

    def is_due_next(self) -> bool:
        """Whether it will be after one more epoch of the stage that is decided on."""
        return self._curriculum.is_due(self._one_more())

    def _one_more(self) -> Progress:
        return self._curriculum.collected(self._progress, self.epoch_frames(self.decided))

    def check_told(self, episodes: Sequence[EpisodeStats]) -> None:
        """With the first episode that ends, not when the first stage could be passed.

        Raises:
            ConfigError: there is a curriculum and an episode told nothing of success.
        """
        names = self._config.env.tasks
        silent = {names[stats.task] for stats in episodes if stats.success is None}
        if self._config.curriculum is not None and silent:
            raise ConfigError(
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
