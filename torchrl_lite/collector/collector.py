"""Collects epochs and evaluates, in this process or in workers, with bit-identical results."""

import pickle
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from copy import deepcopy
from functools import partial
from typing import Any, Self

import torch

from torchrl_lite.collector.collected import Collected
from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.collector.local_worker import LocalWorker
from torchrl_lite.collector.protocol import Cost, Worker, WorkerPool
from torchrl_lite.collector.setup import RolloutSetup, Site, groups, site_name, sites
from torchrl_lite.collector.supervision import SupervisedWorker
from torchrl_lite.collector.worker import ProcessPool
from torchrl_lite.errors import EpisodeError
from torchrl_lite.network.actor import Actor
from torchrl_lite.types import Block


def no_progress(done: int, total: int) -> None:
    """Reports nothing."""


class Collector:
    """A queue of depth one: `submit` an epoch with the current weights, take its `result` later.

    With workers, the epoch is collected in the background; without, inside `submit`.
    """

    def __init__(
        self,
        setup: RolloutSetup,
        *,
        epoch_frames: int,
        workers: int = 0,
        pool: WorkerPool | None = None,
        say: Callable[[str], None] = print,
        progress: Callable[[int, int], None] = no_progress,
    ) -> None:
        """``setup``: its policy is copied. ``pool`` starts the workers, by default as processes on
        this machine. ``say`` is called with messages about workers that died and episodes that
        restarted, ``progress`` with the number of workers that have started, or of evaluation
        episodes that have ended, and the total."""
        self._config, self._say, self._progress = setup.config, say, progress
        policy = deepcopy(setup.policy).cpu().requires_grad_(False)
        self._setup = setup._replace(policy=policy)
        self._weights = list(policy.state_dict().values())
        self._restarted: set[str] = set()
        self._block = Block.zeros(setup.spec, epoch_frames, setup.config.copies)
        self._pool = pool or ProcessPool()
        self._pending = False
        self._ready: Collected | None = None
        self._workers: list[Worker] = []
        tasks = range(len(setup.config.tasks))
        training = groups(sites(tasks, setup.config.copies), setup.config.group_size)
        if workers == 0:
            own = self._setup._replace(groups=training)
            self._workers = [LocalWorker(own, self._block, restarted=self._tell_restarted)]
        else:
            self._start_workers(training, workers)

    def _start_workers(self, training: Sequence[list[Site]], count: int) -> None:
        self._pool.publish(self._setup.policy)
        try:
            for index in range(count):
                own = training[index::count]
                setup = self._setup._replace(groups=own)
                start = partial(self._pool.start, index, setup, self._block)
                names = ", ".join(site_name(self._config, site) for group in own for site in group)
                self._workers.append(
                    SupervisedWorker(start, names, say=self._say, restarted=self._tell_restarted)
                )
            for index, worker in enumerate(self._workers):
                worker.receive()  # its environments are ready
                self._progress(index + 1, count)
        except BaseException:
            self.close()
            raise

    @property
    def busy(self) -> bool:
        """Whether an epoch was submitted and its result not yet taken."""
        return self._pending or self._ready is not None

    def submit(self, actor: Actor, tasks: Sequence[int], *, random: bool) -> None:
        """Start an epoch of these tasks with the actor's weights, or with random actions."""
        assert not self.busy, "one epoch at a time"
        self._load_weights(actor)
        self._pending = True
        for worker in self._workers:
            worker.send("collect", list(tasks), random)

    def result(self) -> Collected:
        """The submitted epoch; waits for it."""
        self._wait()
        assert self._ready is not None, "nothing was submitted"
        ready, self._ready = self._ready, None
        return ready

    def evaluate(
        self,
        actor: Actor,
        tasks: Sequence[int],
        episodes: int,
        *,
        goals: Sequence[int] | None = None,
    ) -> list[EpisodeStats]:
        """Deterministic episodes in separate environments, ``episodes`` per task; of tasks with
        goals at most one per goal, since another one would be the same.

        They are spread over ``goals``, by default those of the training: episode j of n uses
        number ``j * len(goals) // n``, the same in every evaluation.
        """
        numbers = range(self._config.num_goals) if goals is None else goals
        if self._config.has_goals:
            episodes = min(episodes, len(numbers))
        spread = [numbers[episode * len(numbers) // episodes] for episode in range(episodes)]
        self._wait()
        self._load_weights(actor)
        parts = groups(sites(tasks, episodes), self._config.group_size)
        results: list[EpisodeStats] = []
        total = len(tasks) * episodes
        count = len(self._workers)
        for start in range(0, len(parts), count):
            busy = list(zip(self._workers, parts[start : start + count], strict=False))
            for worker, part in busy:
                worker.send("evaluate", part, spread)
            for worker, _ in busy:
                results += worker.receive()
                self._progress(len(results), total)
        return results

    def state_dict(self) -> dict[str, Any]:
        """Positions of all environments, and an epoch that was collected but not yet taken."""
        self._wait()
        for worker in self._workers:
            worker.send("state_dict")
        positions = {site: state for part in self._gather() for site, state in part.items()}
        ready = self._ready
        return {"sites": positions, "ready": None if ready is None else ready.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replay the running episodes; the number of workers may have changed.

        An episode whose replay differs restarts; this is reported once.

        Raises:
            EpisodeError, WorkerError: an environment raised an exception.
        """
        self._wait()
        self._ready = None
        for worker in self._workers:
            worker.send("load_state_dict", pickle.dumps(state["sites"]))
        self._gather()
        if state["ready"] is not None:
            self._ready = Collected.of(state["ready"], self._block)

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        with suppress(EpisodeError) if error else nullcontext():  # the first error is the cause
            self.close()

    def _tell_restarted(self, names: list[str]) -> None:
        new = [name for name in names if name not in self._restarted]
        self._restarted |= set(new)
        if new:
            self._say(
                f"warning: {', '.join(new)}: the replay was not bit-identical, so the episode "
                "restarts, and the run now differs from an uninterrupted one"
            )

    def _load_weights(self, actor: Actor) -> None:
        with torch.no_grad():
            for mine, new in zip(self._weights, actor.state_dict().values(), strict=True):
                mine.copy_(new)
        self._pool.publish(self._setup.policy)

    def _gather(self) -> list[Any]:
        return [worker.receive() for worker in self._workers]

    def _wait(self) -> None:
        if not self._pending:
            return
        parts = self._gather()
        costs = [cost for _, cost in parts]
        slowest, cpu_s = max(cost.seconds for cost in costs), sum(cost.cpu_s for cost in costs)
        # Sorted, since the bits of a mean must not depend on which worker collected what.
        episodes = sorted(
            (stats for part, _ in parts for stats in part),
            key=lambda one: (one.task, one.length, one.ret, *one.info.values()),
        )
        self._pending = False
        self._ready = Collected(self._block, episodes, Cost(slowest, cpu_s))
