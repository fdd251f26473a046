"""The epoch loop. It owns time; a `Learner` owns the mathematics."""

import json
import time
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

from torchrl_lite import checkpoint, policy_file
from torchrl_lite.algo.evaluation import (
    ByTask,
    by_task,
    evaluation_row,
    td_error,
    training_row,
)
from torchrl_lite.algo.learner import Learner
from torchrl_lite.algo.stages import Stages
from torchrl_lite.checkpoint import CheckpointError, Saved, Store
from torchrl_lite.collector import (
    Collected,
    Collector,
    EpisodeError,
    WorkerError,
    check_block,
    check_episodes,
    check_metrics,
)
from torchrl_lite.config import Config
from torchrl_lite.console import Row, View
from torchrl_lite.logger import Logger, finite
from torchrl_lite.replay_buffer import ReplayBuffer
from torchrl_lite.reward_scale import reward_scale
from torchrl_lite.signals import SignalGuard


class RLAlgo:
    """Collect, learn, evaluate, log, save; then the same again.

    Never subclassed: what differs between algorithms is the learner.
    """

    def __init__(
        self,
        config: Config,
        *,
        learner: Learner,
        collector: Collector,
        buffer: ReplayBuffer,
        logger: Logger,
        view: View,
        guard: SignalGuard,
        store: Store,
        folder: Path,
        seed: int,
        versions: dict[str, str],
        origin: Sequence[dict[str, Any]] = (),
    ) -> None:
        """``origin``: what the run started from, as plain data for its files."""
        self.config, self.folder = config, folder
        self._seed, self._versions = seed, versions
        self.learner, self.collector, self.buffer = learner, collector, buffer
        self._logger, self._view, self._guard, self._store = logger, view, guard, store
        self._reward_scale = reward_scale(config)
        self._origin = list(origin)
        self.epoch = 0
        self.frames = [0] * config.num_tasks
        self.stages = Stages(config)
        self._best: tuple[float, float] | None = None
        self._wall_time_before, self._started = 0.0, time.perf_counter()
        self._saved: Row = {}
        self._cpu_s, self._workers_cpu_s = time.process_time(), 0.0
        self._durations: dict[str, float] = {}
        self._learned: Row = {}
        self._compiled: set[tuple[int, ...]] = set()  # by this process, for so many rows

    @property
    def total_frames(self) -> int:
        return sum(self.frames)

    @property
    def wall_time(self) -> float:
        """Seconds of training, saving and evaluating, over all parts of the run."""
        return self._wall_time_before + time.perf_counter() - self._started

    def train(self, until: int | None = None) -> bool:
        """Trains to the configured end, or to the first epoch end at or after ``until`` frames.

        Returns whether the end was reached; a run that stops before it leaves a checkpoint.
        """
        saved = self.epoch
        self._expect_frames(self.stages.decided)
        if (
            until is not None
            and until <= self.total_frames
            and self.epoch < self.config.total_epochs
        ):
            return False
        while self.epoch < self.config.total_epochs:
            self._guard.expect_end_in(self._expected_seconds())
            self._run_epoch()
            stop = self._guard.requested is not None
            stop |= until is not None and self.total_frames >= until
            last = self.epoch == self.config.total_epochs
            if stop or last or self.epoch % self.config.train.save_interval == 0:
                self._save()
                saved = self.epoch
            stop |= self._guard.requested is not None and saved == self.epoch  # during the save
            if stop and not last:
                return False
        if saved == 0:  # nothing to train: what was asked for is still a complete run
            self._save()
        self._finish()
        return True

    def _run_epoch(self) -> None:
        started = time.perf_counter()
        row: Row = {"epoch": self.epoch + 1}
        row |= self._gather()
        learning = self.epoch > self.config.train.pretrain_epochs
        row |= self._learn() if learning else {"time/update_s": 0.0}
        evaluating = time.perf_counter()
        measured = self._measure()
        evaluation_s = time.perf_counter() - evaluating if measured else None
        row |= measured
        if self.config.curriculum is not None:
            row["stage/check_frames"] = self.stages.check_frames
        filming_s = self._film() if self._is_filmed(self.epoch) else 0.0
        snapshot = self.config.train.snapshot_interval
        if snapshot and self.epoch % snapshot == 0:
            self._save_weights(f"epoch_{self.epoch}")

        total_s = time.perf_counter() - started
        self._durations["learn" if learning else "collect"] = (
            total_s - (evaluation_s or 0.0) - filming_s
        )
        row |= {"time/eval_s": evaluation_s, **self._saved, "time/total_s": total_s}
        before, self._cpu_s = self._cpu_s, time.process_time()
        row["time/cpu_s"] = self._cpu_s - before + self._workers_cpu_s
        row["updates"] = self.learner.updates
        self._saved = {}
        self._logger.dump(row, best=finite(self._best[0]) if self._best else None)

    def _gather(self) -> Row:
        """An epoch's transitions, into the buffer; where epochs overlap, the next one starts."""
        self._view.phase("collecting")
        collected, waited = self._collect()
        self._arrive()
        tasks = self.stages.tasks
        lived = [frames // self.config.env.copies for frames in self.frames]
        check_block(collected.block, tasks, self.config.env.tasks, before=lived)
        self.stages.check_told(collected.episodes)
        self.buffer.add_block(collected.block, tasks)
        if self._reward_scale is not None:
            scale = self._reward_scale.update(collected.block, list(tasks))
            self.buffer.reward_scale.copy_(scale)
        for task in tasks:
            self.frames[task] += self.config.frames_per_epoch // self.config.num_tasks
        self.stages.collected()
        self.epoch += 1
        if self.config.system.overlap:  # after the last epoch, too: a longer run would go on so
            self._submit(self.epoch)
        self._workers_cpu_s = collected.cost.cpu_s
        frames = self.stages.epoch_frames(self.stages.stage)
        return {
            "stage": self.stages.stage,
            "total_frames": self.total_frames,
            **training_row(collected.episodes),
            **{f"frames/{t}": n for t, n in zip(self.config.env.tasks, self.frames, strict=True)},
            "time/collect_s": waited,
            "rate/frames_per_second": frames / collected.cost.seconds,
        }

    def _learn(self) -> Row:
        train, tasks = self.config.train, tuple(self.stages.tasks)
        compiling = self.config.system.accel == "compile" and tasks not in self._compiled
        self._compiled.add(tasks)
        self._view.phase("compiling" if compiling else "updating")
        started = time.perf_counter()
        if train.lr_schedule != "constant":
            self.learner.schedule(train.lr_share(self.learner.updates))
        rows = train.batch_size // self.config.num_tasks
        self.learner.run(
            self.buffer, tasks, opt_steps=train.opt_steps, batch_size=rows, n_step=train.n_step
        )
        learned = self.learner.flush()
        check_metrics(learned, self.config.env.tasks, frame=self.total_frames)
        self._learned = {**learned}
        seconds = time.perf_counter() - started
        rate = train.opt_steps / seconds
        return self._learned | {"time/update_s": seconds, "rate/updates_per_second": rate}

    def _measure(self) -> Row:
        """The evaluation and the check of the stage that are due now; empty where none is."""
        row: Row = {}
        started = time.perf_counter()
        if self.epoch % self.config.train.eval_interval == 0:
            evaluation, _ = self._evaluate(self.config.train.eval_episodes)
            self._keep_best(evaluation)
            row |= evaluation | self.stages.forgotten(evaluation)
            self._durations["eval"] = time.perf_counter() - started
        if self.stages.is_due():
            checking = time.perf_counter()
            row |= self._check_stage()
            self._durations["check"] = time.perf_counter() - checking
        return row

    def _collect(self) -> tuple[Collected, float]:
        """The next epoch's transitions, and the seconds that the loop stood still for them."""
        started = time.perf_counter()
        if not self.collector.busy:
            self._submit(self.epoch)
        collected = self.collector.result()
        return collected, time.perf_counter() - started

    def _submit(self, epoch: int) -> None:
        random = epoch < self.config.train.pretrain_epochs
        self.collector.submit(self.learner.actor, self.stages.submit(), random=random)

    def _evaluate(self, number: int) -> tuple[Row, ByTask]:
        """So many episodes of each task with the current weights: their figures, and they."""
        self._view.phase("evaluating")
        everything = range(self.config.num_tasks)
        results = self.collector.evaluate(self.learner.actor, everything, number)
        check_episodes(results, self.config.env.tasks, frame=self.total_frames)
        episodes = by_task(results)
        error = td_error(episodes, self.learner, self.buffer)
        return evaluation_row(episodes, self.config.env.tasks) | {"eval/td_error": error}, episodes

    def _is_filmed(self, epoch: int) -> bool:
        evaluations = int(self.config.log.video)
        return evaluations > 0 and epoch % (evaluations * self.config.train.eval_interval) == 0

    def _film(self) -> float:
        """A film of every task, in environments of their own; returns the seconds it took.

        A film that fails stops nothing.
        """
        self._view.phase("filming")
        started = time.perf_counter()
        for task, name in enumerate(self.config.env.tasks):
            try:
                film = self.collector.film(self.learner.actor, task)
                self._logger.film(name, film, frames=self.total_frames)
            except Exception as error:
                self._view.say(f"warning: no film of {name} ({type(error).__name__}: {error})")
        self._durations["film"] = time.perf_counter() - started
        return self._durations["film"]

    def _keep_best(self, evaluation: Row) -> None:
        """Best by success, then by return; by return alone where no task tells of success."""
        success, ret = evaluation["eval/success_rate"], evaluation["eval/return"]
        score = -inf if success is None else float(success), float(ret or 0)
        if self._best is None or score > self._best:
            self._best = score
            self._save_weights("best")

    def _finish(self) -> None:
        self._guard.expect_end_in(None)
        final, episodes = self._evaluate(self.config.train.final_eval_episodes)
        self._save_policy(episodes)
        result: dict[str, Any] = {
            "frames": self.total_frames,
            "updates": self.learner.updates,
            "epochs": self.epoch,
            "wall_time_s": round(self.wall_time, 3),
            "final_eval_episodes": self.config.train.final_eval_episodes,
            **{key: finite(value) for key, value in (final | self._learned).items()},
        }
        if self.config.curriculum is not None:
            result |= {
                "stage": self.stages.stage,
                "stage/complete": self.stages.complete,
                "stage/check_frames": self.stages.check_frames,
                **self.stages.forgotten(final),
            }
        if self._origin:
            result["origin"] = self._origin
        if self.config.log.video and not self._is_filmed(self.epoch):
            self._film()
        checkpoint.write_text(self.folder / "result.json", json.dumps(result, indent=2) + "\n")
        self._logger.final(final, frames=self.total_frames)
        rate = final["eval/success_rate"]
        success = "" if rate is None else f"success {rate:.2f}, "
        self._view.say(
            f"done: {self.total_frames} frames, {success}return {final['eval/return']:.1f} over "
            f"{self.config.train.final_eval_episodes} episodes a task"
        )

    def _save_policy(self, episodes: ByTask) -> None:
        policy_file.write(
            self.folder / "policy.safetensors",
            self.learner.actor,
            self.config,
            self.learner.spec,
            frames=self.total_frames,
            seed=self._seed,
            versions=self._versions,
            evaluation=[
                policy_file.TaskEvaluation.of(self.config.env.tasks[task], stats)
                for task, stats in episodes.items()
            ],
            origin=self._origin,
        )

    def _expected_seconds(self) -> float | None:
        """What the coming epoch will take, as far as one like it was seen."""
        train = self.config.train
        seconds = self._durations.get("learn" if self.epoch >= train.pretrain_epochs else "collect")
        if seconds is None or self.stages.stage != self.stages.decided:
            return None
        if (self.epoch + 1) % train.eval_interval == 0:
            if "eval" not in self._durations:
                return None
            seconds += self._durations["eval"]
        if self._is_filmed(self.epoch + 1):
            if "film" not in self._durations:
                return None
            seconds += self._durations["film"]
        if self.stages.is_due_next():
            if "check" not in self._durations:
                return None
            seconds += self._durations["check"]
        return seconds + self._durations.get("save", 1.0)

    # --- curriculum ------------------------------------------------------------------------------

    def _expect_frames(self, stage: int) -> None:
        epochs = self.config.total_epochs - self.epoch
        self._view.expect(self.total_frames + epochs * self.stages.epoch_frames(stage))

    def _arrive(self) -> None:
        """The transitions that come now, and all that is learned from them, are of this stage."""
        left = self.stages.arrive()
        if left is None:
            return
        self.buffer.retire(left)
        self._durations.clear()  # epochs of another number of tasks take another time
        self._expect_frames(self.stages.stage)

    def _check_stage(self) -> Row:
        """Measures the stage's own tasks and moves on where their success allows it."""
        assert self.config.curriculum is not None
        self._view.phase("checking the stage")
        episodes = self.collector.evaluate(
            self.learner.actor,
            self.stages.decided_tasks,
            self.config.curriculum.stage_eval_episodes,
        )
        check_episodes(episodes, self.config.env.tasks, frame=self.total_frames)
        found = self.stages.check(episodes)
        if found.story:
            text = f"frame {self.total_frames}: {found.story}"
            self._logger.mark("curriculum", text, frames=self.total_frames)
            self._save_weights(f"transfer_stage{found.stage}")
        return {"stage/success": found.success}

    # --- checkpoints -----------------------------------------------------------------------------

    def _save(self) -> None:
        self._view.phase("saving")
        started = time.perf_counter()
        self._logger.flush()
        size = self._store.save(self.epoch, self.state_dict(), self.buffer)
        self._durations["save"] = time.perf_counter() - started
        self._saved = {"time/save_s": self._durations["save"], "time/save_mb": size / 1e6}

    def _save_weights(self, name: str) -> None:
        state = {
            "networks": self.learner.state_dict(),
            "frames": self.total_frames,
            **self._identity(),
        }
        checkpoint.save(self.folder / "checkpoint" / f"{name}.pt", state)

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the run depends on, but for the replay buffer."""
        return {
            "epoch": self.epoch,
            "frames": list(self.frames),
            "best": self._best and list(self._best),
            "wall_time": self.wall_time,
            "learned": self._learned,
            "curriculum": self.stages.state_dict(),
            "learner": self.learner.training_state(),
            "reward_scale": self._reward_scale.state_dict() if self._reward_scale else None,
            "collector": self.collector.state_dict(),
            **self._identity(),
        }

    def _identity(self) -> dict[str, Any]:
        """What another run has to know that starts from this one."""
        return {
            "config": self.config.model_dump(mode="json"),
            "shapes": self.learner.spec.shapes,
            "origin": self._origin,
        }

    def resume(self, saved: Saved) -> None:
        """Goes on from a checkpoint.

        Raises:
            CheckpointError: it is not one of a run like this.
            EpisodeError, WorkerError: an environment raised as its episode was replayed.
        """
        try:
            self._load_state_dict(saved.state)
            saved.fill(self.buffer)
            self.collector.load_state_dict(saved.state["collector"])
        except (CheckpointError, EpisodeError, WorkerError):
            raise
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise CheckpointError(f"{saved.path}: does not fit this run ({error!r})") from error

    def _load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.frames = state["epoch"], list(state["frames"])
        self._best = None if state["best"] is None else (state["best"][0], state["best"][1])
        self._wall_time_before, self._started = state["wall_time"], time.perf_counter()
        self._learned = state["learned"]
        self._origin = state["origin"]
        self.stages.load_state_dict(state["curriculum"])
        self.learner.load_training_state(state["learner"])
        self.buffer.load_state_dict(state["buffer"])
        if self._reward_scale is not None:
            self._reward_scale.load_state_dict(state["reward_scale"])
