"""Deliberately broken runs, each with the diagnosis rule that must detect it: real Pendulum runs
of a few seconds, and handwritten logs where training would take hours."""

import csv
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import gymnasium as gym
from tiny_runs import ROOT, sets, tree_of

from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.analysis.diagnosis.evidence import Evidence
from torchrl_lite.analysis.diagnosis.rules import diagnose
from torchrl_lite.analysis.runs import Run
from torchrl_lite.command.launch import main

_STORED = ROOT / "docs" / "results"
STUCK_IN_AN_OPTIMUM = _STORED / "min_99" / "drawer-open-v3" / "1"
"""The policy pushes against the closed drawer."""
_SHORT = (
    "mt10",
    "mt10_multihead",
    "mt10_soft_module",
    "fast_mt50",
    "compare_fast_mt10",
    "compare_fast_st",
    "compare_mt10",
    "recipe_39",
    "searched_39",
)
"""Experiments that end before their tasks are learned."""
GOOD = sorted(
    path.parent
    for path in _STORED.rglob("log.csv")
    if path.relative_to(_STORED).parts[0] not in _SHORT and path.parent != STUCK_IN_AN_OPTIMUM
)
"""Logs of runs that learned their tasks."""


def rules_found(folder: Path) -> list[str]:
    """Names of the rules with a finding, in report order."""
    return [name for name, _ in diagnose(Evidence.of(Run(folder)))]


# --- real runs -----------------------------------------------------------------------------------

PENDULUM: dict[str, Any] = {
    "net.hidden_shapes": [64, 64],
    "train.num_epochs": 10,
    "train.pretrain_epochs": 5,
    "train.epoch_frames": 200,
    "train.opt_steps": 200,
    "train.batch_size": 64,
    "train.eval_interval": 4,
    "train.eval_episodes": 3,
    "train.final_eval_episodes": 3,
    "train.save_interval": 100,
    "system.threads": 1,
    "system.workers": 0,
    "log.console": "plain",
}
LONGER = {"train.num_epochs": 24}
"""Enough for SAC to learn the swing-up."""


class RealRun(NamedTuple):
    fields: Mapping[str, Any]
    rule: str | None
    algo: str = "sac"
    bug: Callable[[], AbstractContextManager[object]] = nullcontext
    """A bug patched into the code during training."""


MIRRORED = "MirroredPendulum-v1"
"""Pendulum with inverted torque, so that a policy must know which of the two tasks it is in."""
TWO_TASKS = LONGER | {
    "env.tasks": ["Pendulum-v1", MIRRORED],
    "env.num_envs": 2,
    "env.group_size": 2,
    "train.batch_size": 128,
    "train.num_epochs": 34,
}


def mirrored(**arguments: Any) -> gym.Env:
    env = gym.make("Pendulum-v1", **arguments).unwrapped
    return gym.wrappers.TransformAction(env, lambda action: -action, None)


def wrong_task_id() -> AbstractContextManager[object]:
    """Stores the transitions of each of two tasks under the id of the other."""
    add = ReplayBuffer.add_block

    def swapped(buffer: ReplayBuffer, block: Any, tasks: Any) -> None:
        add(buffer, type(block)(*(part.flip(0) for part in block)), tasks)

    return patch.object(ReplayBuffer, "add_block", swapped)


REAL = {
    "nothing": RealRun(LONGER, None),
    "nothing, TD3": RealRun(LONGER, None, "td3"),
    "no updates": RealRun({"train.opt_steps": 0}, "no_updates"),
    "learning rate 1": RealRun({"sac.qlr": 1, "sac.plr": 1}, "learning_rate"),
    "learning rate 1e-8": RealRun({"sac.qlr": 1e-8, "sac.plr": 1e-8}, "learning_rate"),
    "no target network": RealRun({"sac.tau": 1}, "no_target_network"),
    "discount 0": RealRun({"sac.discount": 0}, "discount"),
    "no noise, TD3": RealRun({"td3.noise_std": 0}, "no_exploration", "td3"),
    "temperature fixed at 10": RealRun({"sac.alpha": 10}, "fixed_temperature"),
    "rewards times 1e-4": RealRun({"sac.reward_scale": 1e-4}, "reward_scale"),
    "rewards times 1e4": RealRun({"sac.reward_scale": 1e4}, "reward_scale"),
    "temperature of 1, categorical critics": RealRun(
        {"net.critic.kind": "hl_gauss", "env.reward_normalization": "return"}, "bins_too_narrow"
    ),
    "buffer of 600": RealRun({"replay_buffer.size": 600}, "small_buffer"),
    "one update per epoch": RealRun({"train.opt_steps": 1}, "updates_per_frame"),
    "10 updates per frame": RealRun(
        {"train.epoch_frames": 20, "train.pretrain_epochs": 20, "train.opt_steps": 200},
        "updates_per_frame",
    ),
    "entropy target 5": RealRun({"sac.target_entropy": 5}, "temperature_at_bound"),
    "nothing, two tasks": RealRun(TWO_TASKS, None),
    "wrong task id": RealRun(
        TWO_TASKS | {"train.num_epochs": 26}, "no_learning", bug=wrong_task_id
    ),
}


def train(case: RealRun, log_dir: Path) -> Path:
    """Returns the run directory. A non-finite value may end the run; its log is kept."""
    config = str(ROOT / "config" / "mujoco" / "pendulum.json")
    fields = sets(PENDULUM | dict(case.fields))
    common = ["--config", config, "--device", "cpu", "--id", "x", "--log_dir", str(log_dir)]
    if MIRRORED not in gym.registry:
        gym.register(MIRRORED, mirrored, max_episode_steps=200)
    with case.bug():
        many = len(case.fields.get("env.tasks", [])) > 1
        assert main(case.algo, [*common, *fields], multi_task=many) in (0, 1)
    (params,) = (log_dir / "x").rglob("params.json")
    return params.parent


# --- handwritten logs ----------------------------------------------------------------------------

Column = Callable[[float], float | None]
"""Maps the run's progress, 0 to 1, to a cell."""
EPOCHS = 41


def line(start: float, end: float) -> Column:
    return lambda share: start + (end - start) * share


def ramp(share: float, start: float, end: float) -> Column:
    """Linear up to this share of the run, constant afterwards."""
    return lambda now: start + (end - start) * min(1.0, now / share)


LEARNS: dict[str, Column] = {
    "train/q1_loss": line(1, 20),
    "train/critic_grad_norm": line(1, 60),
    "train/alpha": ramp(0.5, 1, 0.01),
    "train/entropy": ramp(0.5, 2.5, -4),
    "train/q": line(1, 400),
    "eval/q": line(1, 400),
    "eval/q_bias": line(0.5, -20),
    "eval/td_error": line(1, 30),
    "eval/saturated": line(0.1, 0.5),
    "eval/dead_actor": line(0.1, 0.4),
    "eval/dead_critic": line(0.1, 0.4),
    "eval/return": line(50, 4200),
    "eval/success_rate": line(0, 1),
    "eval/ep_len_mean": line(500, 500),
    "rollout/success_rate": line(0, 0.9),
    "rollout/ep_rew_mean": line(30, 3900),
    "rollout/ep_len_mean": line(500, 500),
}
"""What SAC logs on push-v3 when it learns."""
NO_SUCCESS = {"eval/success_rate": line(0, 0), "rollout/success_rate": line(0, 0)}
STUCK = NO_SUCCESS | {
    "eval/return": ramp(0.3, 50, 900),
    "rollout/ep_rew_mean": ramp(0.3, 30, 800),
    "train/q": ramp(0.3, 1, 180),
    "eval/q": ramp(0.3, 1, 180),
    "eval/q_bias": line(0, 0),
    "train/entropy": line(2.5, -4),
    "info_mean/near_object/push-v3": line(0, 0.9),
    "info_mean/grasp_success/push-v3": line(0, 0),
    "info_last/obj_to_target/push-v3": line(0.3, 0.25),
}
FLAT = NO_SUCCESS | {
    "eval/return": line(30, 30),
    "rollout/ep_rew_mean": line(30, 30),
    "train/q": line(1, 3),
    "eval/q": line(1, 3),
    "eval/q_bias": line(0, 0),
    "train/entropy": line(2.5, -3),
}
NOT_TRAINED = {
    "eval/return": line(50, 50),
    "eval/success_rate": line(0, 0),
    "rollout/ep_rew_mean": lambda _: None,
    "rollout/success_rate": lambda _: None,
}
TINY_ALPHA = {"train/alpha": line(1e-3, 1e-3)}
"""A temperature too small for its entropy bonus to explain a bias."""


class Log(NamedTuple):
    columns: Mapping[str, Column]
    rule: str | None
    fields: Mapping[str, Any] = {}
    text: str = ""
    """Part of the first finding's text."""


PUSH_AND_REACH = {
    "env.tasks": ["push-v3", "reach-v3"],
    "env.num_envs": 2,
    "train.batch_size": 512,
}


PER_TASK = {
    "eval_return": "eval/return",
    "rollout_return": "rollout/ep_rew_mean",
    "eval_success": "eval/success_rate",
    "rollout_success": "rollout/success_rate",
}
"""Columns of each task, and their means over tasks."""


def of_both(push: Mapping[str, Column], reach: Mapping[str, Column]) -> dict[str, Column]:
    """Columns of push-v3 and reach-v3, which learn apart from these changes."""
    tasks = {"push-v3": LEARNS | dict(push), "reach-v3": LEARNS | dict(reach)}
    return {
        f"{name}/{task}": columns[mean]
        for name, mean in PER_TASK.items()
        for task, columns in tasks.items()
    }


LOGS = {
    "nothing": Log({}, None),
    "nothing, two tasks": Log(of_both({}, {}), None, PUSH_AND_REACH),
    "nothing, DDPG": Log({}, None, {"algo": "ddpg"}),
    "nothing, first stage": Log(
        of_both({}, NOT_TRAINED)
        | {"frames/push-v3": line(0, 20_500), "frames/reach-v3": line(0, 0)}
        | {"eval/success_rate": line(0, 0.4), "eval/td_error": line(1, 900)},
        None,
        PUSH_AND_REACH | {"curriculum.kind": "sequential"},
    ),
    "nothing, 20 updates per frame": Log({}, None, {"train.opt_steps": 10_000}),
    "nothing, transferred weights": Log({}, None, {"train.pretrain_epochs": 0}),
    "nothing, a sure policy from the start": Log(
        {"eval/saturated": line(0.97, 0.97), "train/alpha": line(5e-5, 5e-5)},
        None,
        {"train.pretrain_epochs": 0, "sac.initial_alpha": 1e-4},
    ),
    "nothing, a fixed temperature from the start": Log(
        {"train/entropy": line(1, 1)}, None, {"train.pretrain_epochs": 0, "sac.alpha": 0.2}
    ),
    "critics diverge": Log(
        FLAT | {"train/q": lambda share: 10 ** (9 * share), "eval/q": line(1, 1e9)},
        "diverging_critics",
        text="train/q is 5.96e+08",
    ),
    "rewards beyond the bins": Log(
        TINY_ALPHA | {"train/q": line(1, 19.8), "eval/q": line(1, 19.8), "eval/q_bias": line(0, 0)},
        "bins_too_narrow",
        {"net.critic.kind": "two_hot", "net.critic.bound": 20},
        text="end at 20, but the rewards so far can add up to 819",
    ),
    "gradients explode": Log(
        FLAT | {"train/critic_grad_norm": lambda share: 10 ** (7 * share)},
        "diverging_critics",
        text="grew from",
    ),
    "temperature vanishes": Log(
        FLAT | {"train/alpha": lambda share: 10 ** (-6 * share)}, "temperature_at_bound"
    ),
    "temperature explodes": Log(
        FLAT | {"train/alpha": lambda share: 10 ** (3 * share)}, "temperature_at_bound"
    ),
    "actor dead": Log(FLAT | {"eval/dead_actor": line(0.1, 0.99)}, "dead_networks", text="actor"),
    "policy saturated": Log(FLAT | {"eval/saturated": line(0.5, 1)}, "saturated_policy"),
    "values too high": Log(
        FLAT | TINY_ALPHA | {"eval/q": line(1, 90), "eval/q_bias": line(0, 85)},
        "biased_critics",
        text="overestimate",
    ),
    "values too low": Log(
        STUCK | TINY_ALPHA | {"eval/q": line(1, -500), "eval/q_bias": line(0, -680)},
        "biased_critics",
        text="underestimate",
    ),
    "values lag behind": Log(
        STUCK | TINY_ALPHA | {"eval/q": line(1, 10), "eval/q_bias": line(0, -190)},
        "biased_critics",
        {"sac.tau": 0.02},
        text="lag behind",
    ),
    "critics overfit": Log(FLAT | {"eval/td_error": line(1, 900)}, "overfitting"),
    "one task dominates": Log(
        {
            "train_q1_loss/push-v3": line(1, 900),
            "train_q1_loss/reach-v3": line(1, 5),
            "train_q1_loss/door-open-v3": line(1, 8),
        },
        "dominating_task",
        {
            "env.tasks": ["push-v3", "reach-v3", "door-open-v3"],
            "env.num_envs": 3,
            "train.batch_size": 768,
        },
        text="push-v3 has 99%",
    ),
    "stuck before the object": Log(
        STUCK | {"info_mean/near_object/push-v3": line(0, 0.02)}, "local_optimum", text="never near"
    ),
    "stuck at the grasp": Log(STUCK, "local_optimum", text="does not grasp"),
    "stuck with the object": Log(
        STUCK | {"info_mean/grasp_success/push-v3": line(0, 0.6)},
        "local_optimum",
        text="not placed: at the end it is 0.25 m",
    ),
    "entropy falls at once": Log(
        FLAT | {"train/entropy": ramp(0.1, 2.5, -4)},
        "early_certainty",
        text="-4.0 at frame 2,500 of 20,500",
    ),
    "noise ruins training": Log({"rollout/success_rate": line(0, 0.1)}, "noise", text="ruins"),
    "evaluation fails": Log(
        {"eval/success_rate": line(0, 0.1)}, "noise", text="worse than the noisy one"
    ),
    "noise ruins one task": Log(
        of_both({}, {"rollout/success_rate": line(0, 0.2)}),
        "noise",
        PUSH_AND_REACH,
        text="success in reach-v3 is 0.93 in evaluation and 0.20 in training",
    ),
    "nothing is learned": Log(FLAT, "no_learning"),
    "nothing is learned in one task": Log(
        of_both(FLAT, {}),
        "no_learning",
        PUSH_AND_REACH,
        text="1 of 2 tasks. In push-v3, the return is 30",
    ),
    "two tasks are stuck": Log(
        STUCK
        | of_both(
            STUCK,
            STUCK | {"eval/return": ramp(0.3, 50, 700), "rollout/ep_rew_mean": ramp(0.3, 30, 600)},
        ),
        "local_optimum",
        PUSH_AND_REACH,
        text="reach-v3 is in a local optimum: the return grew from 30 (random actions) to 700",
    ),
}


def write(case: Log, folder: Path) -> Path:
    """Writes a run directory with this log: one random epoch, then epochs with the configured
    frames and updates (default 500), and an evaluation in every second one."""
    folder.mkdir(parents=True)
    fields = {"algo": "sac", "env.suite": "metaworld", "env.tasks": ["push-v3"]}
    fields |= {"train.pretrain_epochs": 1, "train.batch_size": 256, "env.num_envs": 1}
    fields["env.reward_normalization"] = None
    fields |= {"train.epoch_frames": 500, "train.opt_steps": 500} | dict(case.fields)
    (folder / "params.json").write_text(json.dumps(tree_of(fields)))
    columns = LEARNS | dict(case.columns)
    if len(fields["env.tasks"]) == 1:
        for name in ("eval_return", "eval_success"):
            columns[f"{name}/{fields['env.tasks'][0]}"] = columns[PER_TASK[name]]
    with (folder / "log.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", "total_frames", "updates", *columns], restval="")
        writer.writeheader()
        frames, updates = (int(fields[f"train.{name}"]) for name in ("epoch_frames", "opt_steps"))
        frames *= int(fields["env.num_envs"])
        for epoch in range(1, EPOCHS + 1):
            row = {"epoch": epoch, "total_frames": frames * epoch, "updates": updates * (epoch - 1)}
            names = [name for name in columns if _is_logged(name, epoch)]
            writer.writerow(row | {n: columns[n]((epoch - 1) / (EPOCHS - 1)) for n in names})
    return folder


def _is_logged(name: str, epoch: int) -> bool:
    if name.startswith("train"):
        return epoch > 1
    return not name.startswith("eval") or epoch % 2 == 0
