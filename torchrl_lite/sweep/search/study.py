"""The study of a search: an Optuna study in a file of its folder, without a server."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torchrl_lite.config.extras import import_extra
from torchrl_lite.errors import UserError
from torchrl_lite.sweep.search.objective import STEPS, Score

JOURNAL = "study.journal"
NAME = "search"


def package() -> Any:
    """
    Raises:
        UserError: Optuna is not installed.
    """
    optuna = import_extra("optuna", "search", needed_by="--search")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


class Study:
    """Proposes settings and remembers what became of them, whenever the process ends.

    A proposal follows from the number of its trial and the study so far, so a search that is
    continued proposes nothing twice. A trial stays "running" until `tell`, `close` or `discard`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        asked: Mapping[str, Any],
        sampler: str,
        pruner: str,
        grid: Sequence[Mapping[str, str]] | None,
    ) -> None:
        """``asked`` says what is searched, by flag; ``grid`` has the settings of a grid.

        Only one process at a time may open the study of a folder.

        Raises:
            UserError: the folder has the study of another search, or a damaged one.
        """
        self._optuna = package()
        self._sampler, self._grid = sampler, grid
        path = folder / JOURNAL
        try:
            _drop_incomplete_line(path)
            journal = self._optuna.storages.journal
            self.study = self._optuna.create_study(
                study_name=NAME,
                storage=journal.JournalStorage(journal.JournalFileBackend(str(path))),
                direction="maximize",
                load_if_exists=True,
                pruner=self._pruner(pruner),
            )
        except (ValueError, LookupError, TypeError, AssertionError) as error:
            raise UserError(f"{path}: is damaged, or not written by a search ({error})") from None
        self._check(asked, folder)

    def _pruner(self, name: str) -> Any:
        pruners = self._optuna.pruners
        if name == "median":  # not in the first third, where success is often 0
            return pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=STEPS // 3)
        if name == "hyperband":
            return pruners.HyperbandPruner(min_resource=1, max_resource=STEPS, reduction_factor=3)
        return pruners.NopPruner()

    def _check(self, asked: Mapping[str, Any], folder: Path) -> None:
        known = self.study.user_attrs.get("asked")
        if known is None:
            self.study.set_user_attr("asked", dict(asked))
            return
        for flag, value in asked.items():
            if known.get(flag) != json.loads(json.dumps(value)):
                raise UserError(
                    f"--{flag}: the search in {folder} was started with another; use another --out"
                )

    @property
    def trials(self) -> list[Any]:
        """Every ``optuna.trial.FrozenTrial`` that has begun, by number."""
        waiting = self._optuna.trial.TrialState.WAITING
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state != waiting]

    def unfinished(self) -> Iterator[Any]:
        """Every ``optuna.Trial`` that an earlier process left, in their order."""
        running = self._optuna.trial.TrialState.RUNNING
        for trial in [trial for trial in self.trials if trial.state == running]:
            self._prepare(trial.number)  # it may lack values
            yield self._optuna.trial.Trial(self.study, trial._trial_id)

    def ask(self) -> Any:
        """The next ``optuna.Trial``."""
        number, known = len(self.trials), len(self.study.get_trials(deepcopy=False))
        self._prepare(number)
        if self._grid is not None and number == known:  # else it was enqueued, but not yet asked
            self.study.enqueue_trial(dict(self._grid[number]))
        return self.study.ask()

    def _prepare(self, number: int) -> None:
        """A sampler for one trial, however often the search was interrupted."""
        samplers = self._optuna.samplers
        kind = samplers.TPESampler if self._sampler == "tpe" else samplers.RandomSampler
        self.study.sampler = kind(seed=number)

    def score_of_same(self, trial: Any) -> tuple[int, Score] | None:
        """Number and score of a complete trial with the same setting."""
        for other in self.trials:
            if other.state.name == "COMPLETE" and other.params == trial.params:
                return other.number, Score(other.user_attrs["success"], other.user_attrs["ret"])
        return None

    def last_step(self, trial: Any) -> int:
        return self.study.get_trials(deepcopy=False)[trial.number].last_step or 0

    def tell(self, trial: Any, score: Score, *, pruned: bool = False) -> None:
        for name, value in score._asdict().items():
            trial.set_user_attr(name, value)
        if pruned:  # Optuna takes the last report as its value
            self.study.tell(trial, state=self._optuna.trial.TrialState.PRUNED)
        else:
            self.study.tell(trial, score.value)

    def close(self, trial: Any) -> None:
        """Stopped without a score. To the sampler, it is worse than any complete trial."""
        self.study.tell(trial, state=self._optuna.trial.TrialState.PRUNED)

    def discard(self, trial: Any, reason: str) -> None:
        """It can have no value."""
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=self._optuna.trial.TrialState.FAIL)


def _drop_incomplete_line(path: Path) -> None:
    """What a process wrote last when its machine went down; Optuna would append to it."""
    if path.exists():
        with path.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
