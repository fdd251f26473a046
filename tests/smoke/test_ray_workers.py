"""Ray workers collect the same bits as local ones, even if actors or nodes die.

Needs ``pip install -e .[ray]``; skipped without it.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import complete_state, through_a_file
from processes import still_alive
from tiny_runs import ROOT, assert_same_bits, result_of, results, sets
from tiny_runs import TINY as SMALLEST

from torchrl_lite.collector.collector import Collector
from torchrl_lite.collector.ray_worker import RayPool
from torchrl_lite.collector.setup import RolloutSetup
from torchrl_lite.command.launch import main
from torchrl_lite.config import EnvConfig, NetConfig, RayConfig
from torchrl_lite.env.make import make_spec
from torchrl_lite.errors import WorkerError
from torchrl_lite.network.actor import GaussianPolicy
from torchrl_lite.network.build import build

pytestmark = [pytest.mark.ray, pytest.mark.timeout(540)]
pytest.importorskip("ray.cluster_utils", reason="the extra [ray] is not installed")

BROKEN_ENVS = """
import sys
import threading
import gymnasium as gym
from gymnasium.envs.classic_control.pendulum import PendulumEnv

class Raises(PendulumEnv):
    def step(self, action):
        raise ValueError("this is broken")

class Hangs(PendulumEnv):
    def step(self, action):
        threading.Event().wait()

class Leaves(PendulumEnv):
    def step(self, action):
        sys.exit(0)

gym.register("Raises-v0", Raises)
gym.register("Hangs-v0", Hangs)
gym.register("Leaves-v0", Leaves)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two nodes with room for one worker each, and broken environments to import."""
    from ray.cluster_utils import Cluster

    broken = tmp_path_factory.mktemp("broken")
    (broken / "broken_envs.py").write_text(BROKEN_ENVS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        path = [str(ROOT), str(broken), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(path))
        patch.syspath_prepend(broken)
        node = {"num_cpus": 1, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        cluster.add_node(num_cpus=1)
        yield cluster
        cluster.shutdown()


# --- collectors ----------------------------------------------------------------------------------

TASKS = ["drawer-close-v3", "reach-v3"]
HORIZON, EPOCH_FRAMES = 7, 10
ENV = EnvConfig(tasks=TASKS, num_envs=6, group_size=2, max_episode_frames=HORIZON)


def make_actor(env: EnvConfig, seed: int) -> GaussianPolicy:
    torch.manual_seed(seed)
    spec = make_spec(env)
    net = NetConfig(hidden_shapes=[32, 32])
    body = build(net, spec, role="actor", outputs=2 * spec.act_dim, parts=2)
    return GaussianPolicy(body, spec, log_std_min=-20.0, log_std_max=2.0)


YOUNG, OLD = make_actor(ENV, 1), make_actor(ENV, 2)
# A task is left out and returns; the ends of epochs and episodes do not coincide.
EPOCHS: list[tuple[GaussianPolicy, tuple[int, ...], bool]] = [
    (YOUNG, (0, 1), True),
    (YOUNG, (0, 1), False),
    (OLD, (1,), False),
    (OLD, (0, 1), False),
]


@pytest.fixture
def open_collector(cluster: Any) -> Iterator[Callable[..., Collector]]:
    with ExitStack() as stack:

        def start(
            env: EnvConfig = ENV,
            *,
            ray: int = 0,
            local: int = 0,
            say: Callable[[str], None] = print,
            **changes: Any,
        ) -> Collector:
            ray_pool = None
            if ray:
                config = RayConfig(address=cluster.address, num_workers=ray)
                ray_pool = stack.enter_context(RayPool(config))
            setup = RolloutSetup(env, make_spec(env), make_actor(env, 1), seed=11)
            setup = setup._replace(**changes)
            workers = ray or local
            collector = Collector(
                setup, epoch_frames=EPOCH_FRAMES, workers=workers, pool=ray_pool, say=say
            )
            stack.callback(collector.close)
            return collector

        yield start


Open = Callable[..., Collector]


def epoch(collector: Collector, number: int) -> dict[str, Any]:
    """Collects an epoch, which may have been submitted already."""
    actor, tasks, random = EPOCHS[number]
    if not collector.busy:
        collector.submit(actor, tasks, random=random)
    block, episodes, _ = collector.result()
    rows = {name: tensor[list(tasks)] for name, tensor in block._asdict().items()}
    return {"rows": rows, "episodes": [vars(stats) for stats in episodes]}


def evaluation(collector: Collector) -> list[dict[str, Any]]:
    return [vars(stats) for stats in collector.evaluate(OLD, (0, 1), 3)]


def session(collector: Collector) -> dict[str, Any]:
    """Everything that a collector returns, also after loading its state."""
    epochs = [epoch(collector, number) for number in range(len(EPOCHS))]
    state = collector.state_dict()
    evaluated = evaluation(collector)
    collector.load_state_dict(through_a_file(state))
    epochs.append(epoch(collector, 1))
    sites = dict(sorted(state["sites"].items()))
    return {"epochs": epochs, "sites": sites, "evaluation": evaluated}


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """The session of a collector without worker processes."""
    with Collector(
        RolloutSetup(ENV, make_spec(ENV), YOUNG, seed=11), epoch_frames=EPOCH_FRAMES
    ) as collector:
        return session(collector)


@pytest.mark.parametrize("workers", [{"local": 2}, {"ray": 2}], ids=str)
def test_local_and_ray_workers_collect_the_same_bits(
    open_collector: Open, expected: dict[str, Any], workers: dict[str, int]
) -> None:
    assert_same_bits(session(open_collector(**workers)), expected, "session")


def hosts() -> list[int]:
    """The PIDs of our Ray actors."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::_Host"):
                found.append(int(path.parent.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def test_a_dead_actor_is_replaced_twice(open_collector: Open, expected: dict[str, Any]) -> None:
    others, messages = hosts(), list[str]()
    collector = open_collector(ray=1, say=messages.append)

    def kill_mid_epoch(number: int) -> None:
        (victim,) = set(hosts()) - set(others)
        os.kill(victim, signal.SIGSTOP)  # so that it dies in the middle of the epoch
        actor, tasks, random = EPOCHS[number]
        collector.submit(actor, tasks, random=random)
        os.kill(victim, signal.SIGKILL)
        others.append(victim)

    epochs = [epoch(collector, 0)]
    for number in (1, 2):
        kill_mid_epoch(number)
        epochs.append(epoch(collector, number))
    assert_same_bits(epochs, expected["epochs"][:3], "epochs")
    assert len(messages) == 2
    assert all(line.startswith("rollout worker 0 died (") for line in messages)
    assert all(line.endswith("a new one replays its environments") for line in messages)

    kill_mid_epoch(3)
    with pytest.raises(WorkerError, match=r"worker 0 died .*, the 3rd death of .*reach-v3 \(copy"):
        collector.result()


def test_losing_a_node_changes_no_bit(
    cluster: Any, open_collector: Open, expected: dict[str, Any]
) -> None:
    messages: list[str] = []
    collector = open_collector(ray=2, say=messages.append)
    epochs = [epoch(collector, 0)]
    actor, tasks, random = EPOCHS[1]
    collector.submit(actor, tasks, random=random)
    cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
    cluster.add_node(num_cpus=1)  # the lost worker waits for a free CPU
    epochs += [epoch(collector, number) for number in (1, 2, 3)]
    assert_same_bits(epochs, expected["epochs"][:4], "epochs")
    assert_same_bits(evaluation(collector), expected["evaluation"], "evaluation")
    (line,) = messages
    assert line.endswith("a new one replays its environments")


@pytest.mark.parametrize("task", ["Raises-v0", "Hangs-v0", "Leaves-v0"])
def test_a_broken_environment_is_reported_as_by_local_workers(
    open_collector: Open, task: str
) -> None:
    env = EnvConfig(suite="gymnasium", imports=["broken_envs"], tasks=[task], max_episode_frames=9)
    errors = []
    for workers in ({"local": 1}, {"ray": 1}):
        collector = open_collector(env, env_timeout_s=3, **workers)
        collector.submit(make_actor(env, 1), (0,), random=False)
        with pytest.raises(WorkerError) as caught:
            collector.result()
        errors.append(str(caught.value).splitlines())
    local, ray = errors
    assert ray[0] == local[0]
    assert task in ray[0]
    assert ray[-1] == local[-1]  # of the traceback, where there is one


# --- whole runs ----------------------------------------------------------------------------------

TINY = SMALLEST | {
    "env.tasks": TASKS,
    "env.num_envs": 4,
    "env.group_size": 2,
    "env.max_episode_frames": 15,
    "replay_buffer.size": 220,
    "train.opt_steps": 3,
    "train.pretrain_epochs": 2,
    "train.num_epochs": 8,
    "train.batch_size": 16,
    "train.eval_interval": 3,
    "train.eval_episodes": 2,
    "train.final_eval_episodes": 2,
    "train.save_interval": 2,
}
RAY = {"system.workers": "ray", "system.ray.num_workers": 2}


def command(log_dir: Path, **changes: Any) -> list[str]:
    config = log_dir / "config.json"
    config.write_text(json.dumps({"extends": str(ROOT / "config" / "base_mt.json")}))
    flags = ["--config", str(config), "--device", "cpu", "--id", "x", "--log_dir", str(log_dir)]
    return [*flags, *sets(TINY | changes)]


def folder_of(log_dir: Path) -> Path:
    return log_dir / "x" / "MT2" / "1"


def everything(log_dir: Path) -> dict[str, Any]:
    """All that a run saved, except for clocks and the placement of workers."""
    folder = folder_of(log_dir)
    state = complete_state(folder)
    for part in (state, state["buffer"], state["learner"], state["collector"]):
        part.pop("config", None)
        part.pop("wall_time", None)
    state["collector"]["sites"] = dict(sorted(state["collector"]["sites"].items()))
    return {
        "state": state,
        "log": results(folder),
        "result": result_of(folder) | {"wall_time_s": 0},
    }


@pytest.fixture(scope="module")
def single_process(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same run in one process."""
    folder = tmp_path_factory.mktemp("single_process")
    assert main("sac", command(folder), multi_task=True) == 0
    return everything(folder)


def test_a_run_moved_to_a_cluster_equals_one_in_a_single_process(
    cluster: Any, single_process: dict[str, Any], tmp_path: Path
) -> None:
    """It stops in one process, resumes on the cluster, and leaves no actor there."""
    assert main("sac", [*command(tmp_path), "--until", "160"], multi_task=True) == 0
    moved = command(tmp_path, **RAY, **{"system.ray.address": cluster.address})
    assert main("sac", [*moved, "--resume"], multi_task=True) == 0
    assert_same_bits(everything(tmp_path), single_process, "run")
    params = json.loads((folder_of(tmp_path) / "params.json").read_text())
    assert params["system"]["ray"]["address"] == cluster.address
    assert still_alive(set(hosts()), 30) == set()
    assert all(node.any_processes_alive() for node in cluster.list_all_nodes())
