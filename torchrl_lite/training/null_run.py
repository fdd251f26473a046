"""The interface between the training loop and a run."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torchrl_lite.reporting.console import Row
from torchrl_lite.training.curriculum import Check


class NullRun:
    """Writes and shows nothing: for a notebook or a test.

    ``algo`` is the `RLAlgo` that calls the methods.
    """

    def phase(self, name: str) -> None:
        """Reports what the loop is doing."""

    def progress(self, done: int, total: int) -> None:
        """Reports how many parts of the phase are done."""

    def say(self, text: str) -> None:
        """Shows a line on the console."""

    def is_over(self, algo: Any) -> bool:  # noqa: ARG002
        """Whether there is nothing to train."""
        return False

    def during_epoch(self) -> AbstractContextManager[object]:
        """Wraps an epoch, including its logging and saving."""
        return nullcontext()

    def after_evaluation(self, algo: Any, evaluation: Row) -> None: ...

    def after_stage(self, algo: Any, check: Check) -> None: ...

    def after_epoch(self, algo: Any, row: Row) -> bool:  # noqa: ARG002
        """Processes a finished epoch; returns whether to stop."""
        return False

    def finish(self, algo: Any) -> None: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...
