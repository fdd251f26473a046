"""The epoch loop. A `Learner` does the mathematics; a `Run` writes and shows the results."""

import time
from collections.abc import Sequence

from torchrl_lite.algo.learner import Learner
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.algo.reward_scale import reward_scale
from torchrl_lite.algo.sampler import Sampler, SymmetricSampler
from torchrl_lite.collector.collector import Collector
from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.collector.finite import check_block, check_episodes, check_metrics
from torchrl_lite.config import Config
from torchrl_lite.demos.file import Demonstrations
from torchrl_lite.env.goals import HELD_OUT
from torchrl_lite.reporting.console import Row
from torchrl_lite.training.curriculum import Stages
from torchrl_lite.training.evaluation import (
    ByTask,
    by_task,
    evaluation_row,
    held_out_row,
    training_row,
)
from torchrl_lite.training.imitation import with_demos
from torchrl_lite.training.null_run import NullRun
from torchrl_lite.training.probes import probe, td_error


class RLAlgo:
    """Collects, updates, evaluates and reports to the run, epoch by epoch.

    Never subclassed: algorithms differ in their learner.
    """

    def __init__(
        self,
        config: Config,
        learner: Learner,
        collector: Collector,
        buffer: ReplayBuffer,
        run: NullRun | None = None,
        demos: Demonstrations | None = None,
    ) -> None:
        """Without a ``run``, writes and shows nothing; ``demos`` fill half of each batch."""
        self.config, self.learner, self.collector, self.buffer = config, learner, collector, buffer
        self.run = run or NullRun()
        self.stages = Stages(config)
        self.epoch = 0
        self.frames = [0] * config.num_tasks
        self.learned: Row = {}
        """Metrics of the last epoch's updates."""
        self.reward_scale = reward_scale(config)
        self.demos = demos
        self.sampler: Sampler = (
            buffer if demos is None else with_demos(buffer, demos, learner, scale=self.reward_scale)
        )
        self._compiled: set[tuple[int, ...]] = set()  # sets of tasks compiled by this process

    @property
    def total_frames(self) -> int:
        return sum(self.frames)

    @property
    def frames_to_come(self) -> int:
        """Frames of all remaining epochs, if the stage does not change."""
        epochs = self.config.total_epochs - self.epoch
        return epochs * self.stages.epoch_frames(self.stages.decided)

    def train(self) -> bool:
        """Trains to the configured end; False if the run stops earlier."""
        if self.run.is_over(self):
            return False
        if isinstance(self.sampler, SymmetricSampler):
            self.run.phase("imitating")
            self.learner.imitate(
                self.sampler.demos,
                updates=self.config.train.bc_updates,
                batch_size=self.config.task_batch_size,
            )
        while self.epoch < self.config.total_epochs:
            with self.run.during_epoch():
                row = self.collect()
                row |= self.update()
                row |= self.measure()
                if self.run.after_epoch(self, row):
                    return False
        self.run.finish(self)
        return True

    def collect(self) -> Row:
        """Adds an epoch's transitions to the buffer; with ``overlap``, starts the next epoch."""
        self.run.phase("collecting")
        started = time.perf_counter()
        if not self.collector.busy:
            self._submit()
        collected = self.collector.result()
        waited = time.perf_counter() - started

        retired = self.stages.arrive()  # at the stage of these transitions
        if retired is not None:
            self.buffer.retire(retired)
        tasks, config = self.stages.tasks, self.config
        before = [frames // config.env.copies for frames in self.frames]
        check_block(collected.block, tasks, config.env.tasks, before=before)
        self.stages.check_reports_success(collected.episodes)
        self.buffer.add_block(collected.block, tasks)
        self.learner.observe(collected.block, tasks)
        if self.reward_scale is not None:
            scale = self.reward_scale.update(collected.block, list(tasks))
            self.buffer.reward_scale.copy_(scale)
        for task in tasks:
            self.frames[task] += config.frames_per_epoch // config.num_tasks
        frames = self.stages.epoch_frames(self.stages.stage)
        self.stages.collected(frames)
        self.epoch += 1
        if config.system.overlap:  # even after the last epoch: the run may be extended
            self._submit()
        return {
            "epoch": self.epoch,
            "stage": self.stages.stage,
            "total_frames": self.total_frames,
            **training_row(by_task(collected.episodes), config.env.tasks),
            **{f"frames/{t}": n for t, n in zip(config.env.tasks, self.frames, strict=True)},
            "time/collect_s": waited,
            "time/cpu_s": collected.cost.cpu_s,  # workers only; the run adds its own process
            "rate/frames_per_second": frames / collected.cost.seconds,
        }

    def update(self) -> Row:
        """Runs ``opt_steps`` updates on the buffer; none in the epochs of random actions."""
        train, tasks = self.config.train, tuple(self.stages.tasks)
        if self.epoch <= train.pretrain_epochs:  # `collect` has counted this epoch
            return {"time/update_s": 0.0, "updates": self.learner.updates}
        compiling = self.config.system.accel == "compile" and tasks not in self._compiled
        self._compiled.add(tasks)
        self.run.phase("compiling" if compiling else "updating")
        started = time.perf_counter()
        if train.lr_schedule != "constant":
            self.learner.optimizers.schedule(train.lr_share(self.learner.updates))
        self.learner.run(
            self.sampler,
            tasks,
            opt_steps=train.opt_steps,
            batch_size=self.config.task_batch_size,
            n_step=train.n_step,
        )
        learned = self.learner.flush()
        check_metrics(learned, self.config.env.tasks, frame=self.total_frames)
        self.learned = {**learned}
        seconds = time.perf_counter() - started
        return self.learned | {
            "time/update_s": seconds,
            "rate/updates_per_second": train.opt_steps / seconds,
            "updates": self.learner.updates,
        }

    def evaluate(self, number: int) -> tuple[Row, ByTask]:
        """Runs ``number`` episodes of each task; returns their statistics and the episodes."""
        self.run.phase("evaluating")
        episodes = by_task(self._episodes(range(self.config.num_tasks), number))
        row = evaluation_row(episodes, self.config.env.tasks)
        row["eval/td_error"] = td_error(episodes, self.learner, self.buffer)
        return row | probe(episodes, self.learner, self.buffer), episodes

    def evaluate_held_out(self, number: int) -> tuple[Row, ByTask]:
        """The same on goals that were never trained on; both empty where tasks have no goals."""
        if not self.config.env.has_goals:
            return {}, {}
        episodes = by_task(self._episodes(range(self.config.num_tasks), number, goals=HELD_OUT))
        return held_out_row(episodes, self.config.env.tasks), episodes

    def _episodes(
        self, tasks: Sequence[int], number: int, goals: Sequence[int] | None = None
    ) -> list[EpisodeStats]:
        """``number`` deterministic episodes of each of the tasks."""
        episodes = self.collector.evaluate(self.learner.actor, tasks, number, goals=goals)
        check_episodes(episodes, self.config.env.tasks, frame=self.total_frames)
        return episodes

    def measure(self) -> Row:
        """Runs the evaluation and the stage check if due; an empty row if neither is."""
        started = time.perf_counter()
        row: Row = {}
        if self.epoch % self.config.train.eval_interval == 0:
            row, _ = self.evaluate(self.config.train.eval_episodes)
            self.run.after_evaluation(self, row)
            row |= self.stages.forgotten(row)
        if self.stages.is_due():
            row |= self._check_stage()
        if row:
            row["time/eval_s"] = time.perf_counter() - started
        if self.config.curriculum is not None:
            row["stage/check_frames"] = self.stages.check_frames
        return row

    def _check_stage(self) -> Row:
        """Evaluates the stage's tasks and advances the curriculum if their success allows it."""
        assert self.config.curriculum is not None
        self.run.phase("checking the stage")
        number = self.config.curriculum.stage_eval_episodes
        found = self.stages.check(self._episodes(self.stages.decided_tasks, number))
        if found.story:
            self.run.after_stage(self, found)
        return {"stage/success": found.success}

    def _submit(self) -> None:
        random = self.epoch < self.config.train.pretrain_epochs
        self.collector.submit(self.learner.actor, self.stages.submit(), random=random)
