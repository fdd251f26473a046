"""A run that stays in memory."""

from typing import Any

from torchrl_lite.checkpoint.store import Saved
from torchrl_lite.reporting.console import Row
from torchrl_lite.training.callback_run import CallbackRun
from torchrl_lite.training.results import result_of
from torchrl_lite.training.rl_algo import RLAlgo
from torchrl_lite.transfer.start import Start


class MemoryRun(CallbackRun):
    """Writes and shows nothing."""

    _origin: list[dict[str, Any]]

    def show(self, saved: Saved | None, start: Start | None, *, asked_to_resume: bool) -> None:  # noqa: ARG002
        self._origin = start.origin if start else []

    def after_epoch(self, algo: RLAlgo, row: Row) -> bool:  # noqa: ARG002
        return self.asks_to_stop(row | self.times(row))

    def finish(self, algo: RLAlgo) -> None:
        episodes_each = algo.config.train.final_eval_episodes
        final, episodes = algo.evaluate(episodes_each)
        final |= algo.evaluate_held_out(episodes_each)[0]
        self.result = result_of(
            algo, final, episodes=episodes, wall_time_s=self.wall_time, origin=self._origin
        )
