"""SAC updates per second: torchrl_lite, Stable-Baselines3, and the limit from matrix products."""

from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from torchrl_lite.algo.gradients import METHODS
from torchrl_lite.algo.malloc import keep_freed_memory
from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.algo.sac import SAC, SACConfig
from torchrl_lite.bench.measure import Contender, Report, interleave
from torchrl_lite.config import NetConfig, load
from torchrl_lite.config.shipped import find_config
from torchrl_lite.network.torch_settings import settings_kept
from torchrl_lite.types import Block, Spec

OBS, ACT, FILLED = 39, 4, 20_000
FAST = "fast_st.json"
OURS, SB3 = "torchrl_lite", "Stable-Baselines3"


def _learner(
    agent: SACConfig, net: NetConfig, tasks: int, *, device: torch.device, **how: str
) -> SAC:
    names = tuple(f"task {index}" for index in range(tasks))
    torch.manual_seed(0)
    spec = Spec(names, (OBS,) * tasks, (ACT,) * tasks)
    return SAC(agent, net, spec, device=device, seed=0, **how)


def _ours(learner: SAC, *, rows: int, steps: int, n_step: int = 1) -> Contender:
    """``rows``: transitions per task in a batch."""
    tasks = learner.spec.num_tasks
    buffer = ReplayBuffer(learner.spec, FILLED, learner.device)
    shape = (tasks, FILLED, 1)
    buffer.add_block(
        Block(
            obs=torch.rand(*shape, OBS),
            act=torch.rand(*shape, ACT),
            rew=torch.rand(shape),
            next_obs=torch.rand(*shape, OBS),
            cont=torch.ones(shape),
            first=torch.zeros(shape),
        ),
        range(tasks),
    )

    def run() -> int:
        learner.run(buffer, range(tasks), opt_steps=steps, batch_size=rows, n_step=n_step)
        learner.flush()
        return steps

    return run


class _Noise(gym.Env[np.ndarray, np.ndarray]):
    """Random data with Meta-World's shapes, to fill a buffer quickly."""

    observation_space = gym.spaces.Box(-1, 1, (OBS,), np.float64)
    action_space = gym.spaces.Box(-1, 1, (ACT,), np.float32)

    def reset(self, **_: Any) -> tuple[np.ndarray, dict[str, Any]]:
        return np.zeros(OBS), {}

    def step(self, _action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return np.random.default_rng(0).random(OBS), 0.0, False, False, {}


def _stable_baselines(
    hidden: list[int], *, rows: int, steps: int, device: torch.device
) -> Contender:
    import stable_baselines3
    from stable_baselines3.common.logger import Logger

    peer = stable_baselines3.SAC(
        "MlpPolicy", _Noise(), learning_rate=3e-4, buffer_size=FILLED, learning_starts=2000,
        batch_size=rows, policy_kwargs={"net_arch": hidden}, device=device,
    )  # fmt: skip
    peer.learn(2000)
    peer.set_logger(Logger(None, []))

    def run() -> int:
        peer.train(gradient_steps=steps, batch_size=rows)
        return steps

    return run


def operations(hidden: list[int], rows: int) -> float:
    """Floating-point operations in the matrix products of one SAC update."""
    sizes = {"actor": [OBS, *hidden, 2 * ACT], "critic": [OBS + ACT, *hidden, 1]}
    products = {
        name: [first * second for first, second in pairwise(layers)]
        for name, layers in sizes.items()
    }
    actor, critic = sum(products["actor"]), 2 * sum(products["critic"])
    actor_back = actor + sum(products["actor"][1:])  # no gradient for the observation
    critic_back = critic + 2 * sum(products["critic"][1:])
    through_critic = critic  # gradient for the action, not for the weights
    target = actor + critic
    multiply_adds = target + critic + critic_back + actor + critic + through_critic + actor_back
    return 2.0 * multiply_adds * rows


def _product_rate(width: int, rows: int, device: torch.device, rounds: int) -> float:
    """Floating-point operations per second of a matrix product on this machine."""
    x = torch.rand(rows, width, device=device)
    weight = torch.rand(width, width, device=device)

    def run() -> int:
        for _ in range(20):
            out = x @ weight
        out[0, 0].item()  # waits for a GPU
        return 20

    return 2.0 * rows * width * width * interleave({"": run}, max(rounds, 5))[""]


def measure(*, threads: int, rounds: int, device: torch.device, accel: str) -> list[Report]:
    keep_freed_memory()
    torch.set_num_threads(threads)
    on = f"{threads} threads" if device.type == "cpu" else torch.cuda.get_device_name(device)
    fast = load(find_config(FAST), ['env.tasks=["any"]'], sections=SECTIONS)
    reports = []
    for hidden, tasks, batch, steps in (
        ([256, 256], 1, 256, 100),
        ([400, 400, 400], 1, 256, 40),
        ([400, 400, 400], 10, 1280, 10),
    ):
        rows = batch // tasks
        net = NetConfig(hidden_shapes=hidden)
        learner = partial(_learner, SACConfig(), net, tasks, device=device)
        ours = partial(_ours, rows=rows, steps=steps)
        contenders = {}
        if tasks == 1 and find_spec("stable_baselines3") is not None:
            contenders[SB3] = _stable_baselines(hidden, rows=rows, steps=steps, device=device)
        for mode in dict.fromkeys(["eager", accel]):
            name = OURS if mode == "eager" else f"{OURS}, {mode}"
            contenders[name] = ours(learner(accel=mode))
        contenders[f"{OURS}, medium precision"] = _medium(ours(learner()))
        if hidden == fast.net.hidden_shapes:
            contenders[f"{OURS}, {FAST}"] = _medium(
                _ours(
                    _learner(fast.agent, fast.net, 1, device=device),
                    rows=fast.train.batch_size,
                    steps=steps,
                    n_step=fast.train.n_step,
                )
            )
        rates = interleave(contenders, rounds)
        limit = _product_rate(hidden[-1], batch, device, rounds) / operations(hidden, batch)
        title = f"SAC, {'-'.join(map(str, hidden))}, batch {batch}, {tasks} task(s), {on}"
        baseline = SB3 if SB3 in rates else OURS
        reports.append(Report(title, "updates/s", baseline, rates, ("matrix products", limit)))
    return [*reports, _gradients(rounds, device, on)]


def _gradients(rounds: int, device: torch.device, on: str) -> Report:
    """Every way of combining the tasks' gradients, at MT10's sizes."""
    net = NetConfig(hidden_shapes=[400, 400, 400])
    learner = partial(_learner, SACConfig(), net, 10, device=device)
    contenders = {
        name: _ours(learner(gradients=name), rows=128, steps=10) for name in ("mean", *METHODS)
    }
    rates = interleave(contenders, rounds)
    return Report(f"SAC, train.gradients, MT10, {on}", "updates/s", "mean", rates)


def _medium(contender: Contender) -> Contender:
    def run() -> int:
        with settings_kept():
            torch.set_float32_matmul_precision("medium")
            return contender()

    return run
