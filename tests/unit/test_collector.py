"""Blocks match stock environments, bit-identically for any number of workers."""

import os
import signal
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from multiprocessing import active_children, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from helpers import make_learner, through_a_file
from stock import mt1, stock_env
from tiny_runs import assert_same_bits

from torchrl_lite.collector.collector import Collector
from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.collector.guard import GuardedEnv
from torchrl_lite.collector.plan import TRAIN, EpisodeKey, EpisodePlan
from torchrl_lite.collector.protocol import Cost
from torchrl_lite.collector.setup import RolloutSetup
from torchrl_lite.collector.worker import ProcessWorker, serve
from torchrl_lite.config import EnvConfig
from torchrl_lite.env.make import make_spec
from torchrl_lite.errors import UserError, WorkerDiedError, WorkerError
from torchrl_lite.network.actor import Actor
from torchrl_lite.training.signals import Interrupted, SignalGuard
from torchrl_lite.types import Block, Spec

TASKS = ["drawer-close-v3", "reach-v3"]
BOTH = (0, 1)
RUN_SEED = 11
HORIZON, EPOCH_FRAMES = 7, 10  # the ends of epochs and episodes do not coincide

SHORT = EnvConfig(tasks=TASKS, num_envs=8, group_size=3, max_episode_frames=HORIZON)
"""Three groups, which two workers hold in a different order than one; the last is not full."""
SMALL = EnvConfig(tasks=TASKS, num_envs=2, group_size=2, max_episode_frames=HORIZON)
"""For tests that need no more."""


YOUNG, OLD = (
    make_learner("sac", make_spec(SHORT), hidden=(32, 32), seed=seed).actor for seed in (1, 2)
)


def make_collector(
    config: EnvConfig = SHORT,
    *,
    workers: int = 0,
    spec: Spec | None = None,
    say: Callable[[str], None] = print,
) -> Collector:
    setup = RolloutSetup(config, spec or make_spec(config), YOUNG, RUN_SEED)
    return Collector(setup, epoch_frames=EPOCH_FRAMES, workers=workers, say=say)


class Epoch(NamedTuple):
    """One epoch to collect."""

    actor: Actor = YOUNG
    tasks: tuple[int, ...] = BOTH
    random: bool = False


Snapshot = dict[str, Any]


def keep(block: Block, episodes: Sequence[EpisodeStats], tasks: tuple[int, ...]) -> Snapshot:
    """A copy of an epoch of these tasks."""
    rows = {name: tensor[list(tasks)] for name, tensor in block._asdict().items()}
    return rows | {"episodes": list(episodes)}


def submit(collector: Collector, epoch: Epoch) -> None:
    collector.submit(epoch.actor, epoch.tasks, random=epoch.random)


def collect(collector: Collector, epochs: Sequence[Epoch]) -> list[Snapshot]:
    """The first one may already be submitted."""
    snapshots = []
    for epoch in epochs:
        if not collector.busy:
            submit(collector, epoch)
        block, episodes, _ = collector.result()
        snapshots.append(keep(block, episodes, epoch.tasks))
    return snapshots


def started_since(before: Sequence[BaseProcess]) -> list[BaseProcess]:
    """The workers started since then, in order."""
    return sorted((p for p in active_children() if p not in before), key=lambda p: p.name)


# --- one session, recorded without and with workers ----------------------------------------------

BEGINNING = [Epoch(random=True), Epoch(), Epoch(OLD)]
CONTINUATION = [Epoch(OLD, tasks=(1,)), Epoch(), Epoch(tasks=(0,), random=True), Epoch(random=True)]


class Session(NamedTuple):
    collector: Collector
    processes: list[BaseProcess]
    messages: list[str]
    beginning: list[Snapshot]
    state: dict[str, Any]
    """After the beginning, with every environment in the middle of an episode."""
    pending_state: dict[str, Any]
    """The same after submitting one more epoch, before its result was fetched."""
    continuation: list[Snapshot]
    evaluations: list[list[EpisodeStats]]


def record(workers: int) -> Session:
    others, messages = active_children(), list[str]()
    collector = make_collector(workers=workers, say=messages.append)
    processes = started_since(others)
    evaluations = [collector.evaluate(OLD, BOTH, 3)]
    beginning = collect(collector, BEGINNING)
    state = through_a_file(collector.state_dict())

    submit(collector, CONTINUATION[0])
    evaluations.append(collector.evaluate(YOUNG, (1,), 5))
    pending = through_a_file(collector.state_dict())
    continuation = collect(collector, CONTINUATION)
    evaluations.append(collector.evaluate(OLD, BOTH, 3))
    return Session(
        collector, processes, messages, beginning, state, pending, continuation, evaluations
    )


@pytest.fixture(scope="module")
def sessions() -> Iterator[Callable[[int], Session]]:
    """The session for a number of workers, recorded on first use and again if its workers died."""
    recorded: dict[int, Session] = {}

    def get(workers: int) -> Session:
        old = recorded.get(workers)
        if old is None or not all(process.is_alive() for process in old.processes):
            if old is not None:
                old.collector.close()
            recorded[workers] = record(workers)
        return recorded[workers]

    yield get
    for session in recorded.values():
        session.collector.close()


Sessions = Callable[[int], Session]


def test_results_do_not_depend_on_the_number_of_workers(sessions: Sessions) -> None:
    actual, reference = sessions(2), sessions(0)
    assert_same_bits(actual.beginning, reference.beginning)
    assert_same_bits(actual.continuation, reference.continuation)
    assert_same_bits(actual.state["sites"], reference.state["sites"])
    assert actual.evaluations == reference.evaluations


@pytest.mark.parametrize("workers", [0, 2])
def test_the_cost_of_an_epoch_is_reported_and_saved(sessions: Sessions, workers: int) -> None:
    """Without workers, ``cpu_s`` is 0: the main process counts its own CPU time."""
    collector, other = sessions(workers).collector, sessions(2 - workers).collector
    collector.submit(YOUNG, BOTH, random=False)
    state = through_a_file(collector.state_dict())
    cost = collector.result().cost
    assert cost.seconds > 0
    assert (cost.cpu_s > 0) == (workers > 0)
    other.load_state_dict(state)
    assert other.result().cost == cost


def test_a_worker_reports_every_second_of_cpu_time_once(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "torchrl_lite.collector.worker"
    rollout = Mock(collect=Mock(return_value=[]), state_dict=Mock(return_value={}))
    clock = Mock(perf_counter=Mock(return_value=0.0), process_time=Mock(side_effect=[5, 6, 8]))
    for name, part in (
        ("Rollout", Mock(return_value=rollout)),
        ("Watchdog", Mock()),
        ("time", clock),
    ):
        monkeypatch.setattr(f"{module}.{name}", part)
    pipe = Mock(recv=Mock(side_effect=[*3 * [("collect", ((0,), False))], EOFError]))
    serve(pipe, Mock(), Mock(), on_hang=Mock())
    answers = [call.args[0][1] for call in pipe.send.call_args_list[1:]]
    assert [cost.cpu_s for _, cost, _ in answers] == [5, 1, 2]


# --- what a Block holds: a replay in stock environments ------------------------------------------


def stock_site(task: int, goal: int) -> Any:
    env = stock_env(TASKS[task], mt1(TASKS[task], RUN_SEED).train_tasks[goal])
    env.max_path_length = HORIZON
    return env


def group_of(order: Sequence[tuple[int, int]], place: int) -> tuple[int, torch.Tensor]:
    """The row of an environment in its group, and the tasks of all rows."""
    size = SHORT.group_size
    row = place % size
    tasks = [task for task, _ in order[place - row : place - row + size]]
    return row, torch.tensor(tasks + [0] * (size - len(tasks)))


def action_in_group(
    call: Callable[..., torch.Tensor], group: tuple[int, torch.Tensor], *inputs: torch.Tensor
) -> torch.Tensor:
    """One environment's action, computed with its whole group: bits depend on the batch size."""
    row, tasks = group
    obs, *noise = (one.repeat(len(tasks), 1, 1) for one in inputs)
    with torch.no_grad():
        return call(obs, tasks, *noise)[row, 0]


class StockSite:
    """Replays one environment of a collector in stock Meta-World with the stored actions."""

    def __init__(self, order: Sequence[tuple[int, int]], place: int) -> None:
        self.task, self.copy = order[place]
        self.group, self.env = group_of(order, place), stock_site(self.task, 0)
        self.episode = -1
        self.plan: EpisodePlan | None = None

    def begin(self) -> EpisodePlan:
        self.episode += 1
        key = EpisodeKey(RUN_SEED, TRAIN, self.task, self.copy, self.episode)
        self.plan = key.plan(horizon=HORIZON, act_dim=4, num_goals=50)
        self.env.set_task(mt1(TASKS[self.task], RUN_SEED).train_tasks[self.plan.goal])
        self.obs = self.env.reset()[0]
        self.frame, self.ret, self.success = 0, 0.0, 0.0
        return self.plan

    def step(self, epoch: Epoch, stored: np.ndarray) -> tuple[tuple, EpisodeStats | None]:
        """The expected frame of the Block, and the episode if it ended there."""
        plan = self.plan or self.begin()
        obs = torch.from_numpy(self.obs).float()
        if epoch.random:
            act = torch.from_numpy(plan.uniform[self.frame].copy())
        else:
            noise = torch.from_numpy(plan.normal[self.frame])
            act = action_in_group(epoch.actor.explore, self.group, obs, noise)
        first = float(self.frame == 0)
        self.obs, rew, _, truncated, info = self.env.step(stored)
        self.frame += 1
        self.ret += float(rew)
        self.success = max(self.success, float(info["success"]))
        ended = None
        if truncated:
            ended = EpisodeStats(self.task, self.ret, self.frame, self.success)
            self.plan = None
        return (obs, act, float(rew), torch.from_numpy(self.obs).float(), 1.0, first), ended


def replay_in_stock(epochs: Sequence[Epoch], snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """These epochs as stock environments produce them with the stored actions."""
    order = [(task, copy) for copy in range(SHORT.copies) for task in BOTH]
    sites = [StockSite(order, place) for place in range(len(order))]
    expected = []
    for epoch, actual in zip(epochs, snapshots, strict=True):
        block = Block.zeros(make_spec(SHORT), EPOCH_FRAMES, SHORT.copies)
        episodes = []
        for site in sites:
            if site.task not in epoch.tasks:
                site.plan = None
                continue
            stored = actual["act"][epoch.tasks.index(site.task), :, site.copy].numpy()
            for frame, action in enumerate(stored):
                values, ended = site.step(epoch, action.copy())
                for tensor, value in zip(block, values, strict=True):
                    tensor[site.task, frame, site.copy] = value
                episodes += [ended] if ended else []
        episodes.sort(key=lambda stats: (stats.task, stats.length, stats.ret))
        assert episodes
        expected.append(keep(block, episodes, epoch.tasks))
    return expected


def test_blocks_and_episodes_match_stock_metaworld(sessions: Sessions) -> None:
    """With the policy's and with random actions. A task left out returns with a reset."""
    actual = sessions(0).beginning + sessions(0).continuation
    assert_same_bits(actual, replay_in_stock(BEGINNING + CONTINUATION, actual))


# --- states --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("saved_by", "loaded_by"), [(0, 2), (2, 0)])
def test_a_saved_state_resumes_with_any_number_of_workers(
    sessions: Sessions, saved_by: int, loaded_by: int
) -> None:
    """Also with an epoch whose result was not fetched."""
    saved, collector = sessions(saved_by), sessions(loaded_by).collector
    collector.load_state_dict(saved.state)
    assert_same_bits(collect(collector, CONTINUATION), saved.continuation)
    collector.load_state_dict(saved.pending_state)
    assert collector.busy
    assert_same_bits(collect(collector, CONTINUATION), saved.continuation)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_diverging_replay_restarts_and_is_reported_once(sessions: Sessions, workers: int) -> None:
    session, state = sessions(workers), through_a_file(sessions(0).state)
    state["sites"]["1/2"]["position"]["obs"][4] += 1e-9
    for _ in range(2):
        session.collector.load_state_dict(state)
    sites = session.collector.state_dict()["sites"]
    (message,) = session.messages
    assert "reach-v3 (copy 2): the replay was not bit-identical" in message
    assert len(sites["1/2"]["position"]["actions"]) == 0
    assert sites["1/2"]["episode"] == state["sites"]["1/2"]["episode"]
    del sites["1/2"], state["sites"]["1/2"]
    assert_same_bits(sites, state["sites"])


# --- evaluation ----------------------------------------------------------------------------------


def stock_evaluation(actor: Actor, tasks: Sequence[int], episodes: int) -> list[EpisodeStats]:
    """Deterministic episodes in stock environments."""
    order = [(task, number) for number in range(episodes) for task in tasks]
    stats = []
    for place, (task, number) in enumerate(order):
        group = group_of(order, place)
        env = stock_site(task, number * 50 // episodes)
        obs, ret, success = env.reset()[0], 0.0, 0.0
        for _ in range(HORIZON):
            action = action_in_group(actor.act, group, torch.from_numpy(obs).float())
            obs, rew, _, _, info = env.step(action.numpy())
            ret, success = ret + float(rew), max(success, float(info["success"]))
        stats.append(EpisodeStats(task, ret, HORIZON, success))
    return stats


def test_evaluation_spreads_its_episodes_over_the_goals(sessions: Sessions) -> None:
    several, of_one_task, _ = sessions(0).evaluations
    assert several == stock_evaluation(OLD, BOTH, 3)
    assert of_one_task == stock_evaluation(YOUNG, (1,), 5)


def test_an_epoch_uses_the_weights_at_its_submission(sessions: Sessions) -> None:
    session = sessions(2)
    session.collector.load_state_dict(session.state)
    actor = deepcopy(OLD)
    for process in session.processes:
        os.kill(process.pid, signal.SIGSTOP)
    session.collector.submit(actor, CONTINUATION[0].tasks, random=False)
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.zero_()
    for process in session.processes:
        os.kill(process.pid, signal.SIGCONT)
    assert_same_bits(collect(session.collector, CONTINUATION[:1]), session.continuation[:1])


def test_actions_are_computed_by_one_thread_in_full_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the settings of the main process, which are restored afterwards."""

    def settings() -> tuple[int, str]:
        return torch.get_num_threads(), torch.get_float32_matmul_precision()

    step, seen, (threads, precision) = GuardedEnv.step, set(), settings()

    def record_settings(env: GuardedEnv, action: Any) -> Any:
        seen.add(settings())
        return step(env, action)

    monkeypatch.setattr(GuardedEnv, "step", record_settings)
    torch.set_num_threads(2)
    torch.set_float32_matmul_precision("medium")
    try:
        one_goal = SMALL.model_copy(update={"num_goals": 1})
        with make_collector(one_goal) as collector:
            collect(collector, [Epoch()])
            assert len(collector.evaluate(YOUNG, (1,), 3)) == 1  # more would be identical
        assert settings() == (2, "medium")
        assert all(parameter.requires_grad for parameter in YOUNG.parameters())
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
    assert seen == {(1, "highest")}


# --- errors and dead workers ---------------------------------------------------------------------


NO_SUCH_TASK = SMALL.model_copy(update={"tasks": [TASKS[0], "reach-v9"]})


@pytest.mark.parametrize(("workers", "error"), [(0, UserError), (1, WorkerError)])
def test_a_failure_to_build_environments_leaves_no_process(
    workers: int, error: type[Exception]
) -> None:
    before, threads = active_children(), threading.active_count()
    with pytest.raises(error, match="reach-v9"):
        make_collector(NO_SUCH_TASK, spec=make_spec(SMALL), workers=workers)
    assert started_since(before) == []
    assert threading.active_count() == threads


def test_a_signal_while_a_worker_starts_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is held back until the process exists, and arrives before the collector knows of it."""
    before, starts, start = active_children(), [0], SpawnProcess.start

    def signalled(self: SpawnProcess) -> None:
        start(self)
        starts[0] += 1
        if starts[0] == 2:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(SpawnProcess, "start", signalled)
    with SignalGuard(20.0), pytest.raises(Interrupted):
        make_collector(workers=3)
    assert starts == [2] and started_since(before) == []


def kill_one(others: Sequence[BaseProcess], number: int = 0) -> None:
    """Kills one of the workers started after ``others`` and waits for its end."""
    victim = started_since(others)[number]
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()


def die_mid_reply(pipe: Connection) -> None:
    os.write(pipe.fileno(), struct.pack("!i", 1000) + b"too few")
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_killed_mid_reply_counts_as_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "torchrl_lite.collector.worker._serve_main_process",
        lambda pipe, _setup, _block: die_mid_reply(pipe),
    )
    monkeypatch.setattr("torchrl_lite.collector.worker.get_context", lambda _: get_context("fork"))
    setup, block = Mock(spec=RolloutSetup), Mock(spec=Block)
    with pytest.raises(WorkerDiedError, match=r"worker 7 died \(exit code -9\)"):
        ProcessWorker(7, setup, block).receive()


def test_killed_workers_change_no_bit_until_the_third_death(
    sessions: Sessions,
) -> None:
    """Killed in the middle of an epoch, before a save and after a load. The third death of workers
    with the same environments stops the run."""
    reference, session = sessions(0), sessions(2)
    others = [process for process in active_children() if process not in session.processes]
    collector = session.collector
    collector.load_state_dict(reference.state)
    session.messages.clear()
    victim = session.processes[1]
    os.kill(victim.pid, signal.SIGSTOP)  # so that it dies mid-epoch
    submit(collector, CONTINUATION[0])
    os.kill(victim.pid, signal.SIGKILL)
    assert_same_bits(collect(collector, CONTINUATION), reference.continuation)

    collector.load_state_dict(reference.state)
    kill_one(others)
    assert_same_bits(collector.state_dict()["sites"], reference.state["sites"])
    kill_one(others, 1)
    assert_same_bits(collect(collector, CONTINUATION), reference.continuation)
    assert collector.evaluate(OLD, BOTH, 3) == reference.evaluations[-1]
    assert [line.split(":")[0] for line in session.messages] == [
        f"rollout worker {number} died (exit code -9)" for number in (1, 0, 1)
    ]

    kill_one(others, 1)
    with pytest.raises(WorkerError, match=r"worker 1 died .*, the 3rd death of .*reach-v3 \(copy"):
        collect(collector, [Epoch()])
    collector.close()
    assert started_since(others) == []


def test_an_epoch_takes_as_long_as_its_slowest_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = [Mock(receive=Mock(return_value=([], Cost(wall, 1.0)))) for wall in (2.0, 3.0)]
    with make_collector(SMALL) as collector, monkeypatch.context() as patch:
        patch.setattr(collector, "_workers", workers)
        collector.submit(YOUNG, BOTH, random=True)
        assert collector.result().cost == Cost(3.0, 2.0)
