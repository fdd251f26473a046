"""Everything a run writes, shows and keeps."""

import json
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Self

import torch

from torchrl_lite.analysis.axes import Until
from torchrl_lite.checkpoint import files
from torchrl_lite.checkpoint.lock import locked
from torchrl_lite.checkpoint.store import Saved
from torchrl_lite.checkpoint.traces import NOT_FINITE, RESULTS, TRACEBACK, remove
from torchrl_lite.config import Config
from torchrl_lite.errors import BusyError, RunError, UserError
from torchrl_lite.reporting.console import Row
from torchrl_lite.reporting.forecast import EPOCHS
from torchrl_lite.reporting.hyperparameters import hyperparameters
from torchrl_lite.reporting.live import make_view
from torchrl_lite.reporting.logger import Logger, columns, finite
from torchrl_lite.reporting.rows import check_columns, read_past
from torchrl_lite.reporting.streams import why_lost
from torchrl_lite.reporting.wandb import Tracker
from torchrl_lite.training import curriculum, provenance
from torchrl_lite.training.budget import Budget
from torchrl_lite.training.callback_run import Callback, CallbackRun
from torchrl_lite.training.checkpoints import Checkpoints
from torchrl_lite.training.curriculum import Check
from torchrl_lite.training.films import film, is_filmed
from torchrl_lite.training.results import result_of, save_policy
from torchrl_lite.training.rl_algo import RLAlgo
from torchrl_lite.training.signals import SignalGuard
from torchrl_lite.transfer.start import Start


class Run(CallbackRun):
    """A run directory, locked from ``with`` on.

    `newest` reads its checkpoints, `show` opens the view and `begin` the log. After that, an
    `RLAlgo` calls it.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        *,
        seed: int,
        device: torch.device,
        guard: SignalGuard,
        until: Until | None = None,
        callback: Callback | None = None,
    ) -> None:
        """``until``: stop after the first epoch that gets there."""
        super().__init__(callback)
        self.folder, self.config = folder, config
        self._seed, self._device, self._guard = seed, device, guard
        self._checkpoints = Checkpoints(folder, config, seed=seed, device=device)
        self._stack = ExitStack()
        self._output_is_lost = False
        self._wall_time_before = 0.0
        self._budget = Budget(until)

    def __enter__(self) -> Self:
        """
        Raises:
            UserError: another process uses the directory, or it is not accessible.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._is_there = self._stack.enter_context(locked(self.folder))
        except BusyError as error:
            raise UserError(f"{error}; wait until it ends, or use another --id or --seed") from None
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be used ({error.strerror})") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _check_place(self) -> None:
        """Another run may be at its path by now.

        Raises:
            RunError: the directory was moved or deleted.
        """
        if not self._is_there():
            raise RunError(f"{self.folder}: was moved or deleted while this run was using it")

    def newest(self) -> Saved | None:
        """See `Checkpoints.newest`."""
        return self._checkpoints.newest()

    def show(self, saved: Saved | None, start: Start | None, *, asked_to_resume: bool) -> None:
        """Opens the view and reports where the run starts. Writes nothing."""
        config, done = self.config, sum(saved.state["frames"]) if saved else 0
        self._past = read_past(self.folder / "log.csv", done, EPOCHS)
        self._budget.resume(self._past)
        self._view = make_view(
            config.log.console,
            title=f"{config.algo} {config.env.set_name} seed {self._seed}",
            tasks=config.env.tasks,
            total_frames=self._budget.total_frames(config.total_frames, done=done),
            done_frames=done,
        )
        self._stack.callback(self._view.close)
        if saved is not None:
            best = saved.state["best"]
            self._view.resume(self._past.latest, best=finite(best[0]) if best else None)
        here = Path.cwd()
        short = self.folder.relative_to(here) if self.folder.is_relative_to(here) else self.folder
        self.say(f"{short} on {provenance.describe(self._device)}")
        if asked_to_resume:
            self.say(
                f"resuming from frame {done}"
                if saved
                else "no checkpoint yet; starting from frame 0"
            )
        self._checkpoints.origin = start.origin if start else []
        notes = start.notes if start else []
        for note in [*notes, *(f"warning: {line}" for line in self._checkpoints.warnings)]:
            self.say(note)

    def begin(self, algo: RLAlgo, *, tracked_as: str | None = None) -> None:
        """Writes the run's configuration and opens its log at the state of ``algo``. Existing files
        are not changed before this point, when everything that can fail has been tried.

        ``tracked_as`` also logs the run to Weights & Biases, under this name.

        Raises:
            UserError: the log is not from this run, the directory is not writable, or W&B refuses
                the run.
            RunError: the directory was moved or deleted.
        """
        self._check_place()
        config = self.config
        more = curriculum.columns(config.env.tasks) if config.curriculum else []
        header = columns(config.env.tasks, algo.learner.metrics.columns, more, info=config.info)
        check_columns(self.folder / "log.csv", self._past.columns, header)
        tracker = None if tracked_as is None else self._tracker(tracked_as)
        self._checkpoints.begin()
        remove(self.folder, TRACEBACK, NOT_FINITE)  # of an earlier end
        self._logger = Logger(self.folder, header, self._view, keep_until=algo.total_frames)
        self._stack.callback(self._logger.close)
        epochs = self._past.epochs
        if epochs < algo.epoch:
            self.say(f"warning: log.csv has rows for {epochs} of {algo.epoch} epochs so far")
        if tracker is not None:
            self._logger.add_sink(tracker)
        self._logger.describe(hyperparameters(config) | {"seed": self._seed})

    def _tracker(self, name: str) -> Tracker:
        return Tracker(
            self.folder,
            project=self.config.log.wandb_project,
            name=name,
            values=self.config.model_dump(mode="json") | {"seed": self._seed},
            say=self.say,
        )

    # --- calls by the training loop ----------------------------------------------------------

    def phase(self, name: str) -> None:
        self._view.phase(name)

    def say(self, text: str) -> None:
        self._view.say(text)

    def progress(self, done: int, total: int) -> None:
        self._view.progress(done, total)

    def _expect(self, algo: RLAlgo) -> None:
        """Shows how many frames are to come."""
        done = algo.total_frames
        self._view.expect(self._budget.total_frames(done + algo.frames_to_come, done=done))

    def is_over(self, algo: RLAlgo) -> bool:
        self._checkpoints.epoch = algo.epoch
        self._expect(algo)
        if not self._budget.is_used_up(algo.total_frames):
            return False
        over = algo.epoch < self.config.total_epochs
        if over:
            self._say_stopped(algo)
        return over

    def during_epoch(self) -> AbstractContextManager[object]:
        super().during_epoch()
        remove(self.folder, *RESULTS)  # of a run that is now extended
        return self._guard.finishing()

    def after_evaluation(self, algo: RLAlgo, evaluation: Row) -> None:
        self._check_place()
        self._checkpoints.save_if_best(algo, evaluation)

    def after_stage(self, algo: RLAlgo, check: Check) -> None:
        self._check_place()
        text = f"frame {algo.total_frames}: {check.story}"
        self._logger.mark("curriculum", text, frames=algo.total_frames)
        self._checkpoints.save_weights(algo, f"transfer_stage{check.stage}")

    def after_epoch(self, algo: RLAlgo, row: Row) -> bool:
        self._check_place()
        if is_filmed(self.config, algo.epoch):
            self._film(algo)
        train = self.config.train
        if train.snapshot_interval and algo.epoch % train.snapshot_interval == 0:
            self._checkpoints.save_weights(algo, f"epoch_{algo.epoch}")
        row |= self.times(row) | self._checkpoints.cost
        self._log(algo, row)
        self._mark_lost_output(algo.total_frames)
        stop = self.asks_to_stop(row) or self._guard.requested is not None
        stop |= self._budget.is_used_up(algo.total_frames)
        last = algo.epoch == self.config.total_epochs
        if stop or last or algo.epoch % train.save_interval == 0:
            self._save(algo)
        # A signal may have arrived during the save.
        stop |= self._guard.requested is not None and self._checkpoints.epoch == algo.epoch
        if stop and not last and not self.had_enough:
            self._say_stopped(algo)
        return stop and not last

    def _say_stopped(self, algo: RLAlgo) -> None:
        self.say(f"stopped at frame {algo.total_frames}, checkpoint saved; continue with --resume")

    def _mark_lost_output(self, frames: int) -> None:
        """Records once in TensorBoard that console output is lost."""
        lost = why_lost()
        if lost and not self._output_is_lost:
            self._output_is_lost = True
            text = f"frame {frames}: console output is lost ({lost}); the run continues"
            self._logger.mark("console", text, frames=frames)

    def _log(self, algo: RLAlgo, row: Row) -> None:
        self._budget.add(row)
        self._expect(algo)
        best = self._checkpoints.best
        self._logger.dump(row, best=finite(best[0]) if best else None)
        self._checkpoints.cost = {}

    def finish(self, algo: RLAlgo) -> None:
        """Runs the final evaluation and writes the result and policy of a finished run."""
        if self._checkpoints.epoch == 0:  # a run of 0 epochs is still a complete run
            self._save(algo)
        episodes_each = self.config.train.final_eval_episodes
        final, episodes = algo.evaluate(episodes_each)
        held_out, others = algo.evaluate_held_out(episodes_each)
        self._check_place()
        started_from = self._checkpoints.origin
        save_policy(
            self.folder / "policy.safetensors",
            algo,
            episodes,
            held_out=others,
            seed=self._seed,
            origin=started_from,
        )
        result = result_of(
            algo,
            final | held_out,
            episodes=episodes,
            wall_time_s=self.wall_time,
            origin=started_from,
        )
        if self.config.log.video and not is_filmed(self.config, algo.epoch):
            self._film(algo)
        files.write_text(self.folder / "result.json", json.dumps(result, indent=2) + "\n")
        self._logger.final(final, frames=algo.total_frames)
        rate = final["eval/success_rate"]
        success = "" if rate is None else f"success {rate:.2f}, "
        self.say(
            f"done: {algo.total_frames} frames, {success}return {final['eval/return']:.1f} over "
            f"{result['final_eval_episodes']} episodes per task"
        )
        self.result = result

    def _film(self, algo: RLAlgo) -> None:
        self.phase("filming")
        film(algo, self._logger, seed=self._seed, say=self.say)

    @property
    def wall_time(self) -> float:
        """Wall time in seconds of training, evaluating and saving, over all resumed parts."""
        return self._wall_time_before + time.perf_counter() - self._started

    def _save(self, algo: RLAlgo) -> None:
        self.phase("saving")
        self._logger.flush()
        self._checkpoints.save(algo, wall_time=self.wall_time)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        best = state["best"]
        self._checkpoints.best = None if best is None else (best[0], best[1])
        self._wall_time_before, self._started = state["wall_time"], time.perf_counter()
        self._checkpoints.origin = state["origin"]
