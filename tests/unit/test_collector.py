"""Blocks hold what stock environments do, with the same bits for any number of workers."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from multiprocessing import active_children
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import metaworld
import numpy as np
import pytest
import torch
from helpers import through_a_file

from torchrl_lite.collector.collector import Collected, Collector
from torchrl_lite.collector.episode import TRAIN, EpisodeKey, EpisodePlan, EpisodeStats
from torchrl_lite.collector.guard import GuardedEnv
from torchrl_lite.config import EnvConfig, NetConfig
from torchrl_lite.env.make import make_spec
from torchrl_lite.errors import EpisodeError, UserError, WorkerError
from torchrl_lite.network.actor import GaussianPolicy
from torchrl_lite.network.build import build
from torchrl_lite.training.signals import Interrupted, SignalGuard
from torchrl_lite.types import Block, Spec

TASKS = ["drawer-close-v3", "reach-v3"]
BOTH = (0, 1)
RUN_SEED = 11
HORIZON, EPOCH_FRAMES = 7, 10  # epochs end in the middle of episodes, episodes within epochs

SHORT = EnvConfig(tasks=TASKS, num_envs=6, group_size=4, max_episode_frames=HORIZON)
"""Two groups; the second is half empty."""
EVEN = EnvConfig(tasks=TASKS, num_envs=6, group_size=2, max_episode_frames=HORIZON)
"""Three full groups: two workers hold them in another order than one does."""
SMALL = EnvConfig(tasks=TASKS, num_envs=2, group_size=2, max_episode_frames=HORIZON)
"""For what needs no more."""


def make_actor(seed: int, hidden: Sequence[int] = (32, 32)) -> GaussianPolicy:
    torch.manual_seed(seed)
    spec = make_spec(SHORT)
    net = NetConfig(hidden_shapes=list(hidden))
    body = build(net, spec, role="actor", outputs=2 * spec.act_dim, parts=2)
    return GaussianPolicy(body, spec, log_std_min=-20.0, log_std_max=2.0)


YOUNG, OLD = make_actor(1), make_actor(2)


def make_collector(
    config: EnvConfig = SHORT,
    *,
    workers: int = 0,
    seed: int = RUN_SEED,
    spec: Spec | None = None,
    actor: GaussianPolicy = YOUNG,
    say: Callable[[str], None] = print,
) -> Collector:
    return Collector(
        config,
        spec or make_spec(config),
        actor,
        epoch_frames=EPOCH_FRAMES,
        seed=seed,
        workers=workers,
        say=say,
    )


class Epoch(NamedTuple):
    """What is asked of a collector."""

    actor: GaussianPolicy = YOUNG
    tasks: tuple[int, ...] = BOTH
    random: bool = False


class Taken(NamedTuple):
    """What it answered, kept."""

    block: Block
    episodes: list[EpisodeStats]
    tasks: tuple[int, ...] = BOTH
    """Whose rows of the block mean something."""


def keep(collected: Collected, tasks: tuple[int, ...] = BOTH) -> Taken:
    block = Block(*(tensor.clone() for tensor in collected.block))
    return Taken(block, list(collected.episodes), tasks)


def collect(collector: Collector, epochs: Sequence[Epoch]) -> list[Taken]:
    taken = []
    for actor, tasks, random in epochs:
        collector.submit(actor, tasks, random=random)
        taken.append(keep(collector.result(), tasks))
    return taken


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.numpy().tobytes() == other.numpy().tobytes()


def assert_same(ours: Sequence[Taken], expected: Sequence[Taken]) -> None:
    assert len(ours) == len(expected)
    for one, other in zip(ours, expected, strict=True):
        assert one.tasks == other.tasks
        for name in Block._fields:
            for task in one.tasks:
                assert same_bits(getattr(one.block, name)[task], getattr(other.block, name)[task])
        assert one.episodes == other.episodes


def mine(before: Sequence[BaseProcess]) -> list[BaseProcess]:
    """The workers that were started since, in their order."""
    return sorted((p for p in active_children() if p not in before), key=lambda p: p.name)


# --- one session, recorded with several numbers of workers ---------------------------------------

BEGINNING = [Epoch(random=True), Epoch(), Epoch(OLD)]
CONTINUATION = [Epoch(OLD, tasks=(1,)), Epoch(), Epoch(tasks=(0,), random=True), Epoch(random=True)]


class Session(NamedTuple):
    collector: Collector
    processes: list[BaseProcess]
    beginning: list[Taken]
    state: dict[str, Any]
    """After the beginning: every environment is in the middle of an episode."""
    untaken_state: dict[str, Any]
    """The same after one epoch more, which was not taken yet."""
    continuation: list[Taken]
    evaluations: list[list[EpisodeStats]]


def record(config: EnvConfig, workers: int) -> Session:
    others = active_children()
    collector = make_collector(config, workers=workers)
    processes = mine(others)
    evaluations = [collector.evaluate(OLD, BOTH, 3)]
    beginning = collect(collector, BEGINNING)
    state = through_a_file(collector.state_dict())

    first = CONTINUATION[0]
    collector.submit(first.actor, first.tasks, random=first.random)
    evaluations.append(collector.evaluate(YOUNG, (1,), 5))
    untaken = through_a_file(collector.state_dict())
    continuation = [
        keep(collector.result(), CONTINUATION[0].tasks),
        *collect(collector, CONTINUATION[1:]),
    ]
    evaluations.append(collector.evaluate(OLD, BOTH, 3))
    return Session(collector, processes, beginning, state, untaken, continuation, evaluations)


WORKERS = {"short": (1, 3), "even": (2,)}
CONFIGS = {"short": SHORT, "even": EVEN}
SETUPS = [(name, workers) for name, counts in WORKERS.items() for workers in counts]


@pytest.fixture(scope="module")
def sessions() -> Iterator[Callable[[str, int], Session]]:
    """The session of a configuration and a number of workers, recorded when first asked for, and
    again where a test ended its workers."""
    recorded: dict[tuple[str, int], Session] = {}

    def get(name: str, workers: int) -> Session:
        old = recorded.get((name, workers))
        if old is None or not all(process.is_alive() for process in old.processes):
            if old is not None:
                old.collector.close()
            recorded[name, workers] = record(CONFIGS[name], workers)
        return recorded[name, workers]

    yield get
    for session in recorded.values():
        session.collector.close()


Sessions = Callable[[str, int], Session]


@pytest.mark.parametrize(("name", "workers"), SETUPS)
def test_blocks_and_episodes_do_not_depend_on_workers(
    sessions: Sessions, name: str, workers: int
) -> None:
    ours, reference = sessions(name, workers), sessions(name, 0)
    assert_same(ours.beginning + ours.continuation, reference.beginning + reference.continuation)


@pytest.mark.parametrize(("name", "workers"), SETUPS)
def test_evaluations_do_not_depend_on_workers(sessions: Sessions, name: str, workers: int) -> None:
    assert sessions(name, workers).evaluations == sessions(name, 0).evaluations


@pytest.mark.parametrize(("name", "workers"), SETUPS)
def test_the_saved_state_does_not_depend_on_workers(
    sessions: Sessions, name: str, workers: int
) -> None:
    ours, reference = sessions(name, workers).state, sessions(name, 0).state
    assert ours["sites"].keys() == reference["sites"].keys()
    for site, saved in reference["sites"].items():
        assert ours["sites"][site]["episode"] == saved["episode"]
        for part in ("actions", "obs"):
            assert same_bits(ours["sites"][site]["position"][part], saved["position"][part])


@pytest.mark.parametrize("workers", [0, 2])
def test_what_an_epoch_took_is_told(workers: int) -> None:
    """The main process counts its own CPU seconds itself."""
    with make_collector(EVEN, workers=workers) as collector:
        for _ in range(2):
            collector.submit(YOUNG, BOTH, random=False)
            cost = collector.result().cost
            assert cost.seconds > 0
            assert (cost.cpu_s > 0) == (workers > 0)


def test_an_epoch_that_was_not_taken_keeps_what_it_took() -> None:
    with make_collector(SMALL, workers=1) as collector:
        collector.submit(YOUNG, BOTH, random=False)
        state = through_a_file(collector.state_dict())
        cost = collector.result().cost
    with make_collector(SMALL) as other:
        other.load_state_dict(state)
        assert other.result().cost == cost


def test_the_session_ends_episodes(sessions: Sessions) -> None:
    session = sessions("short", 0)
    assert all(taken.episodes for taken in session.beginning + session.continuation)


# --- what a Block holds: a replay in stock environments ------------------------------------------


@cache
def benchmark(task: int) -> metaworld.MT1:
    return metaworld.MT1(TASKS[task], seed=RUN_SEED)


def stock_env(task: int) -> Any:
    env = benchmark(task).train_classes[TASKS[task]]()
    env.max_path_length = HORIZON
    return env


def group_of(config: EnvConfig, task: int, copy: int) -> tuple[int, torch.Tensor]:
    """The row of an environment in its group, and the tasks of all rows."""
    order = [(t, c) for c in range(config.copies) for t in BOTH]
    place = order.index((task, copy))
    row = place % config.group_size
    tasks = [t for t, _ in order[place - row : place - row + config.group_size]]
    return row, torch.tensor(tasks + [0] * (config.group_size - len(tasks)))


class StockSite:
    """One environment of a collector, done again with stock Meta-World and the stored actions."""

    def __init__(self, config: EnvConfig, task: int, copy: int) -> None:
        self.config, self.task, self.copy = config, task, copy
        self.env = stock_env(task)
        self.episode = -1
        self.plan: EpisodePlan | None = None

    def begin(self) -> EpisodePlan:
        self.episode += 1
        key = EpisodeKey(RUN_SEED, TRAIN, self.task, self.copy, self.episode)
        self.plan = key.plan(horizon=HORIZON, act_dim=4, num_goals=50)
        self.env.set_task(benchmark(self.task).train_tasks[self.plan.goal])
        self.obs = self.env.reset()[0]
        self.frame, self.ret, self.success = 0, 0.0, 0.0
        return self.plan

    def step(self, epoch: Epoch, stored: np.ndarray) -> tuple[tuple, EpisodeStats | None]:
        """The frame that a Block should hold, and an episode that ended with it."""
        plan = self.plan or self.begin()
        obs = torch.from_numpy(self.obs).float()
        if epoch.random:
            act = torch.from_numpy(plan.uniform[self.frame].copy())
        else:
            act = self.explore(epoch.actor, obs, torch.from_numpy(plan.normal[self.frame]))
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

    def explore(
        self, actor: GaussianPolicy, obs: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """Computed with as many rows as a group has: a row's bits depend on their number."""
        row, tasks = group_of(self.config, self.task, self.copy)
        all_obs, all_noise = (torch.zeros(len(tasks), 1, width) for width in (39, 4))
        all_obs[row, 0], all_noise[row, 0] = obs, noise
        with torch.no_grad():
            return actor.explore(all_obs, tasks, all_noise)[row, 0]


def in_stock(config: EnvConfig, epochs: Sequence[Epoch], taken: Sequence[Taken]) -> list[Taken]:
    """What these epochs are when stock environments take the stored actions."""
    sites = [StockSite(config, task, copy) for task in BOTH for copy in range(config.copies)]
    block = Block(*(torch.zeros_like(tensor) for tensor in taken[0].block))
    expected = []
    for epoch, ours in zip(epochs, taken, strict=True):
        block = Block(*(tensor.clone() for tensor in block))  # who is left out keeps its rows
        episodes = []
        for site in sites:
            if site.task not in epoch.tasks:
                site.plan = None
                continue
            for frame in range(EPOCH_FRAMES):
                at = site.task, frame, site.copy
                values, ended = site.step(epoch, ours.block.act[at].numpy().copy())
                for tensor, value in zip(block, values, strict=True):
                    tensor[at] = value
                episodes += [ended] if ended else []
        episodes.sort(key=lambda stats: (stats.task, stats.length, stats.ret))
        expected.append(Taken(block, episodes))
    return expected


class Replayed(NamedTuple):
    ours: list[Taken]
    stock: list[Taken]


@pytest.fixture(scope="module", params=["short", "even"])
def replayed(sessions: Sessions, request: pytest.FixtureRequest) -> Replayed:
    session = sessions(request.param, 0)
    ours = session.beginning + session.continuation
    return Replayed(ours, in_stock(CONFIGS[request.param], BEGINNING + CONTINUATION, ours))


@pytest.mark.parametrize("field", ["obs", "rew", "next_obs", "first"])
def test_what_is_stored_is_what_stock_metaworld_did(replayed: Replayed, field: str) -> None:
    for ours, stock in zip(*replayed, strict=True):
        assert same_bits(getattr(ours.block, field), getattr(stock.block, field))


def test_actions_are_the_policys_or_the_random_ones_of_the_episode(replayed: Replayed) -> None:
    for ours, stock in zip(*replayed, strict=True):
        assert same_bits(ours.block.act, stock.block.act)


def test_a_time_limit_never_cuts_the_bootstrap(replayed: Replayed) -> None:
    for ours in replayed.ours[:3]:
        assert bool((ours.block.cont == 1).all())


def test_episode_statistics_are_those_of_stock_metaworld(replayed: Replayed) -> None:
    assert [one.episodes for one in replayed.ours] == [one.episodes for one in replayed.stock]


def test_next_obs_is_the_following_obs_within_an_episode(sessions: Sessions) -> None:
    block = sessions("short", 0).beginning[0].block
    for frame in set(range(EPOCH_FRAMES - 1)) - {HORIZON - 1}:
        assert same_bits(block.next_obs[:, frame], block.obs[:, frame + 1])


def test_next_obs_at_the_time_limit_is_no_reset_observation(sessions: Sessions) -> None:
    block = sessions("short", 0).beginning[0].block
    last, first = block.next_obs[:, HORIZON - 1], block.obs[:, HORIZON]
    assert not (last == first).all(-1).any()
    goal = slice(36, 39)  # the true successor still shows the goal of its own episode
    assert torch.equal(last[..., goal], block.obs[:, HORIZON - 1, :, goal])


def test_an_episode_goes_on_in_the_next_epoch(sessions: Sessions) -> None:
    first, second, _ = (taken.block for taken in sessions("short", 0).beginning)
    assert same_bits(first.next_obs[:, -1], second.obs[:, 0])


def test_copies_of_a_task_live_through_episodes_of_their_own(sessions: Sessions) -> None:
    act = sessions("short", 0).beginning[0].block.act
    assert not (act[:, :, 0] == act[:, :, 1]).any()


# --- tasks that are left out ---------------------------------------------------------------------

LEFT_OUT = len(BEGINNING)
"""The epoch of the session in which task 0 is left out."""


def test_rows_of_a_task_that_is_left_out_stay_untouched(sessions: Sessions) -> None:
    before, during = sessions("short", 3).beginning[-1], sessions("short", 3).continuation[0]
    for old, new in zip(before.block, during.block, strict=True):
        assert same_bits(old[0], new[0])


def test_a_task_that_is_left_out_ends_no_episode(sessions: Sessions) -> None:
    assert {stats.task for stats in sessions("short", 3).continuation[0].episodes} == {1}


def test_a_task_that_returns_starts_with_a_reset(sessions: Sessions) -> None:
    before, _, after, *_ = [sessions("short", 3).beginning[-1], *sessions("short", 3).continuation]
    assert not (before.block.next_obs[0, -1] == after.block.obs[0, 0]).all(-1).any()
    current, previous = after.block.obs[0, 0, :, :18], after.block.obs[0, 0, :, 18:36]
    assert torch.equal(current, previous)  # Meta-World's stacked frames are equal after a reset


def test_leaving_out_a_task_does_not_change_the_others(sessions: Sessions) -> None:
    with make_collector() as collector:
        everything = collect(collector, [*BEGINNING, Epoch(OLD)])[-1].block
    alone = sessions("short", 0).continuation[0].block
    for one, other in zip(everything, alone, strict=True):
        assert same_bits(one[1], other[1])


# --- states --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("saved_by", "loaded_by"), [(0, 1), (1, 0), (1, 3), (3, 1)])
def test_a_saved_state_goes_on_with_any_number_of_workers(
    sessions: Sessions, saved_by: int, loaded_by: int
) -> None:
    collector = sessions("short", loaded_by).collector
    collector.load_state_dict(sessions("short", saved_by).state)
    assert_same(collect(collector, CONTINUATION), sessions("short", 0).continuation)


@pytest.mark.parametrize(("saved_by", "loaded_by"), [(0, 3), (3, 0), (3, 1)])
def test_an_epoch_that_was_not_taken_travels_with_the_state(
    sessions: Sessions, saved_by: int, loaded_by: int
) -> None:
    collector = sessions("short", loaded_by).collector
    collector.load_state_dict(sessions("short", saved_by).untaken_state)
    assert collector.busy
    taken = [
        keep(collector.result(), CONTINUATION[0].tasks),
        *collect(collector, CONTINUATION[1:]),
    ]
    assert_same(taken, sessions("short", 0).continuation)


def test_a_fresh_collector_goes_on_from_a_saved_state(sessions: Sessions) -> None:
    with make_collector(actor=OLD) as fresh:
        fresh.load_state_dict(sessions("short", 3).state)
        assert_same(collect(fresh, CONTINUATION), sessions("short", 0).continuation)


def test_the_state_from_before_the_first_epoch_starts_over(sessions: Sessions) -> None:
    with make_collector() as collector:
        state = through_a_file(collector.state_dict())
        collect(collector, BEGINNING[:1])
        collector.load_state_dict(state)
        assert_same(collect(collector, BEGINNING), sessions("short", 0).beginning)


def test_loading_a_state_forgets_an_epoch_that_was_not_taken(sessions: Sessions) -> None:
    with make_collector() as collector:
        collector.submit(YOUNG, BOTH, random=True)
        collector.load_state_dict(sessions("short", 0).state)
        assert not collector.busy


def test_saving_does_not_disturb_what_is_saved(sessions: Sessions) -> None:
    with make_collector() as collector:
        beginning = []
        for epoch in BEGINNING:
            collector.state_dict()
            beginning += collect(collector, [epoch])
        assert_same(beginning, sessions("short", 0).beginning)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_environment_that_leads_elsewhere_restarts_and_is_told_once(
    sessions: Sessions, workers: int
) -> None:
    state = through_a_file(sessions("short", 0).state)
    state["sites"]["1/2"]["position"]["obs"][4] += 1e-9
    told: list[str] = []
    with make_collector(workers=workers, say=told.append) as collector:
        collector.load_state_dict(state)
        collector.load_state_dict(state)
        sites = collector.state_dict()["sites"]
    assert len(told) == 1
    assert "reach-v3 (copy 2): the replay was not bit-identical" in told[0]
    assert len(sites["1/2"]["position"]["actions"]) == 0
    assert sites["1/2"]["episode"] == state["sites"]["1/2"]["episode"]
    del sites["1/2"], state["sites"]["1/2"]
    assert [len(site["position"]["actions"]) for site in sites.values()] == [
        len(site["position"]["actions"]) for site in state["sites"].values()
    ]


# --- evaluation ----------------------------------------------------------------------------------


def stock_evaluation(
    config: EnvConfig, actor: GaussianPolicy, tasks: Sequence[int], episodes: int
) -> list[EpisodeStats]:
    """Deterministic episodes in stock environments."""
    order = [(task, number) for number in range(episodes) for task in tasks]
    stats = []
    for place, (task, number) in enumerate(order):
        row = place % config.group_size
        group = order[place - row : place - row + config.group_size]
        rows = torch.tensor([t for t, _ in group] + [0] * (config.group_size - len(group)))
        env = stock_env(task)
        env.set_task(benchmark(task).train_tasks[number * 50 // episodes])
        obs, ret, success = env.reset()[0], 0.0, 0.0
        all_obs = torch.zeros(config.group_size, 1, 39)
        for _ in range(HORIZON):
            all_obs[row, 0] = torch.from_numpy(obs).float()
            with torch.no_grad():
                action = actor.act(all_obs, rows)[row, 0].numpy()
            obs, rew, _, _, info = env.step(action)
            ret, success = ret + float(rew), max(success, float(info["success"]))
        stats.append(EpisodeStats(task, ret, HORIZON, success))
    return stats


@pytest.mark.parametrize(
    ("number", "actor", "tasks", "episodes"), [(0, OLD, BOTH, 3), (1, YOUNG, (1,), 5)]
)
def test_evaluation_spreads_its_episodes_over_the_goals(
    sessions: Sessions, number: int, actor: GaussianPolicy, tasks: tuple[int, ...], episodes: int
) -> None:
    expected = stock_evaluation(SHORT, actor, tasks, episodes)
    assert sessions("short", 0).evaluations[number] == expected


def test_evaluation_is_the_same_before_and_after_training(sessions: Sessions) -> None:
    first, _, last = sessions("short", 3).evaluations
    assert first == last


def test_evaluation_does_not_change_the_training_environments(sessions: Sessions) -> None:
    with make_collector() as collector:  # the session evaluates before and between its epochs
        never_evaluated = collect(collector, BEGINNING + CONTINUATION)
    session = sessions("short", 0)
    assert_same(session.beginning + session.continuation, never_evaluated)


def test_more_episodes_than_goals_take_goals_again() -> None:
    one_goal = SMALL.model_copy(update={"num_goals": 1})
    with make_collector(one_goal) as collector:
        stats = collector.evaluate(YOUNG, (1,), 3)
    assert len(stats) == 3


def test_evaluation_uses_the_weights_it_is_given(sessions: Sessions) -> None:
    collector = sessions("short", 0).collector
    old, young = (collector.evaluate(actor, (1,), 3) for actor in (OLD, YOUNG))
    assert all(a.ret != b.ret for a, b in zip(old, young, strict=True))


def test_an_epoch_keeps_the_weights_of_its_submission(sessions: Sessions) -> None:
    session = sessions("short", 3)
    session.collector.load_state_dict(session.state)
    actor = make_actor(2)
    for process in session.processes:
        os.kill(process.pid, signal.SIGSTOP)
    session.collector.submit(actor, CONTINUATION[0].tasks, random=False)
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.zero_()
    for process in session.processes:
        os.kill(process.pid, signal.SIGCONT)
    assert_same([keep(session.collector.result(), CONTINUATION[0].tasks)], session.continuation[:1])


def test_the_learners_actor_stays_its_own() -> None:
    actor = make_actor(4)
    before = [parameter.clone() for parameter in actor.parameters()]
    with make_collector(SMALL, actor=actor) as collector:
        collector.evaluate(OLD, (1,), 1)
    for old, new in zip(before, actor.parameters(), strict=True):
        assert torch.equal(old, new)
        assert new.requires_grad


# --- the settings of the main process ------------------------------------------------------------


@pytest.fixture
def fast_and_loose() -> Iterator[None]:
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(2)
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)


WIDE = make_actor(3, hidden=(256, 256))


def wide_session() -> tuple[list[Taken], list[EpisodeStats]]:
    with make_collector(SMALL, actor=WIDE) as collector:
        return collect(collector, [Epoch(WIDE)]), collector.evaluate(WIDE, BOTH, 2)


@pytest.fixture(scope="module")
def exact() -> tuple[list[Taken], list[EpisodeStats]]:
    return wide_session()


@pytest.mark.usefixtures("fast_and_loose")
def test_threads_and_precision_do_not_change_a_bit(
    exact: tuple[list[Taken], list[EpisodeStats]],
) -> None:
    blocks, evaluation = wide_session()
    assert_same(blocks, exact[0])
    assert evaluation == exact[1]


@pytest.mark.usefixtures("fast_and_loose")
def test_actions_are_computed_by_one_thread_in_full_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where no bit of these small layers would tell."""
    step, seen = GuardedEnv.step, set()

    def look(env: GuardedEnv, action: Any) -> Any:
        seen.add((torch.get_num_threads(), torch.get_float32_matmul_precision()))
        return step(env, action)

    monkeypatch.setattr(GuardedEnv, "step", look)
    wide_session()

    assert seen == {(1, "highest")}


@pytest.mark.usefixtures("fast_and_loose")
def test_threads_and_precision_are_given_back() -> None:
    wide_session()
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == (2, "medium")


# --- misuse and misfortune -----------------------------------------------------------------------


def test_a_second_submission_is_refused() -> None:
    with make_collector(SMALL) as collector:
        collector.submit(YOUNG, BOTH, random=True)
        with pytest.raises(AssertionError, match="one epoch at a time"):
            collector.submit(YOUNG, BOTH, random=True)


def test_a_second_submission_is_refused_while_workers_collect(sessions: Sessions) -> None:
    collector = sessions("short", 1).collector
    collector.submit(YOUNG, BOTH, random=True)
    with pytest.raises(AssertionError, match="one epoch at a time"):
        collector.submit(YOUNG, BOTH, random=True)
    collector.result()


def test_a_result_without_a_submission_is_refused() -> None:
    with (
        make_collector() as collector,
        pytest.raises(AssertionError, match="nothing was submitted"),
    ):
        collector.result()


STOCK = SMALL.model_copy(update={"fast": False})
"""The fast environment does not look at an action's size."""


def one_action_short() -> Spec:
    """Shapes in which the second task lacks an action: its environment refuses to step."""
    spec = make_spec(SMALL)
    return spec._replace(act_dims=(spec.act_dims[0], 3))


NO_SUCH_GOALS = SMALL.model_copy(update={"num_goals": 10**6})
"""Episodes are drawn over a million goals, of which an environment has fifty."""

NO_SUCH_TASK = SMALL.model_copy(update={"tasks": [TASKS[0], "reach-v9"]})


def test_an_error_in_step_names_the_task_and_the_cause() -> None:
    with make_collector(STOCK, spec=one_action_short()) as collector:
        message = r"reach-v3 \(copy 0\): AssertionError: Actions should be size 4, got 3"
        with pytest.raises(EpisodeError, match=message):
            collector.submit(YOUNG, BOTH, random=True)


def test_an_error_in_reset_names_the_task_and_the_cause() -> None:
    with make_collector(NO_SUCH_GOALS) as collector:
        message = r"drawer-close-v3 \(copy 0\): ValueError"
        with pytest.raises(EpisodeError, match=message):
            collector.submit(YOUNG, BOTH, random=True)


def test_an_error_in_an_evaluation_names_the_task_and_the_cause() -> None:
    with (
        make_collector(STOCK, spec=one_action_short()) as collector,
        pytest.raises(EpisodeError, match=r"reach-v3 \(copy 0\): AssertionError"),
    ):
        collector.evaluate(YOUNG, BOTH, 2)


def test_an_environment_that_cannot_be_made_is_an_error() -> None:
    with pytest.raises(UserError, match="reach-v9"):
        make_collector(NO_SUCH_TASK, spec=make_spec(SMALL))


def test_an_error_in_a_worker_arrives_with_task_cause_and_traceback() -> None:
    with make_collector(STOCK, spec=one_action_short(), workers=1) as collector:
        collector.submit(YOUNG, BOTH, random=True)
        with pytest.raises(WorkerError) as caught:
            collector.result()
    message = str(caught.value)
    assert "rollout worker 0: reach-v3 (copy 0): AssertionError: Actions should be" in message
    assert "Traceback (most recent call last)" in message
    assert "sawyer_xyz_env.py" in message  # where it happened


def test_a_worker_that_cannot_build_its_environments_is_an_error_and_leaves_no_process() -> None:
    before = active_children()
    with pytest.raises(WorkerError, match="reach-v9"):
        make_collector(NO_SUCH_TASK, spec=make_spec(SMALL), workers=1)
    assert mine(before) == []


def test_workers_leave_signals_to_the_main_process(sessions: Sessions) -> None:
    session = sessions("short", 3)
    for process in session.processes:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(process.pid, number)
    session.collector.load_state_dict(session.state)
    assert_same(collect(session.collector, CONTINUATION), session.continuation)


def test_a_signal_while_a_worker_starts_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits until the process is there, and arrives before anyone else knows of it."""
    before, starts, start = active_children(), [0], SpawnProcess.start

    def signalled(self: SpawnProcess) -> None:
        start(self)
        starts[0] += 1
        if starts[0] == 2:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(SpawnProcess, "start", signalled)
    with SignalGuard(20.0), pytest.raises(Interrupted):
        make_collector(workers=3)
    assert starts == [2] and mine(before) == []


def kill_one(others: Sequence[BaseProcess], number: int = 0) -> None:
    """Ends a worker of those started after ``others``, and waits for its end."""
    victim = mine(others)[number]
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()


def test_a_worker_killed_while_it_collects_changes_nothing_but_a_line(sessions: Sessions) -> None:
    """In the middle of episodes, in the middle of an epoch; then once more while it waits."""
    reference, told, others = sessions("short", 0), list[str](), active_children()
    with make_collector(workers=2, say=told.append) as collector:
        beginning = collect(collector, BEGINNING)
        victim = mine(others)[1]
        os.kill(victim.pid, signal.SIGSTOP)  # so that it dies in the middle of the epoch
        collector.submit(CONTINUATION[0].actor, CONTINUATION[0].tasks, random=False)
        os.kill(victim.pid, signal.SIGKILL)
        first = keep(collector.result(), CONTINUATION[0].tasks)
        kill_one(others)
        rest = collect(collector, CONTINUATION[1:])
        assert collector.evaluate(OLD, BOTH, 3) == reference.evaluations[-1]
    assert_same([*beginning, first, *rest], reference.beginning + reference.continuation)
    assert [line.split(":")[0] for line in told] == [
        "rollout worker 1 died (exit code -9)",
        "rollout worker 0 died (exit code -9)",
    ]


def test_a_worker_killed_before_its_positions_are_saved_or_after_they_are_loaded(
    sessions: Sessions,
) -> None:
    reference, others = sessions("short", 0), active_children()
    with make_collector(workers=1, say=lambda _: None) as collector:
        collector.load_state_dict(reference.state)
        kill_one(others)
        state = through_a_file(collector.state_dict())
        assert repr(state["sites"]) == repr(reference.state["sites"])
        kill_one(others)
        assert_same(collect(collector, CONTINUATION), reference.continuation)


def test_environments_that_kill_three_workers_stop_the_run() -> None:
    others = active_children()
    with make_collector(SMALL, workers=1, say=lambda _: None) as collector:
        for _ in range(2):
            kill_one(others)
            collect(collector, [Epoch()])
        kill_one(others)
        message = r"worker 0 died .*, the 3rd death of .*reach-v3 \(copy 0\)"
        with pytest.raises(WorkerError, match=message):
            collect(collector, [Epoch()])
    assert mine(others) == []


def test_closing_ends_the_workers(sessions: Sessions) -> None:
    session = sessions("short", 1)
    session.collector.close()
    assert not any(process.is_alive() for process in session.processes)
