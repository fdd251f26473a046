"""Small runs of every kind, to be killed and resumed."""

from typing import Any

TASK = "reach-v3"
TASKS = ["reach-v3", "drawer-close-v3"]
# Episodes are longer than an epoch and no multiple of it; the replay buffer wraps in epoch 6.
TINY: dict[str, Any] = {
    "env.max_episode_frames": 15,
    "net.hidden_shapes": [8],
    "replay_buffer.size": 55,
    "train.epoch_frames": 10,
    "train.opt_steps": 3,
    "train.pretrain_epochs": 2,
    "train.num_epochs": 8,
    "train.batch_size": 8,
    "train.eval_interval": 3,
    "train.eval_episodes": 2,
    "train.final_eval_episodes": 2,
    "train.save_interval": 2,
    "train.snapshot_interval": 5,
    "system.threads": 1,
    "system.workers": 0,
}
MANY = {
    "env.tasks": TASKS,
    "env.num_envs": 4,
    "env.group_size": 2,
    "replay_buffer.size": 220,
    "train.batch_size": 16,
    "env.reward_normalization": "ema",
}

OVERLAP = {"system.workers": 1, "system.overlap": True}
# A task leaves and returns, and its remaining old transitions are weighted less.
CURRICULUM = MANY | {
    "train.num_epochs": 14,
    "curriculum.kind": "custom",
    "curriculum.stages": [TASKS[:1], TASKS, TASKS[1:], TASKS],
    "curriculum.thresholds": [0],
    "curriculum.min_frames_per_stage": 40,
    "curriculum.stage_eval_frames": 20,
    "curriculum.stage_eval_episodes": 1,
    "curriculum.old_data": 0.25,
}
# Padded tasks, updates per epoch not divisible by the policy delay, a buffer as long as an epoch,
# a single checkpoint, no evaluation before the last.
DIFFERENT_SHAPES = MANY | {
    "algo": "td3",
    "env.suite": "gymnasium",
    "env.tasks": ["Hopper-v5", "Pendulum-v1"],
    "replay_buffer.size": 40,
    "td3.policy_delay": 3,
    "train.opt_steps": 5,
    "train.keep_checkpoints": 1,
    "train.eval_interval": 100,
}
FEW_UPDATES = MANY | {
    "env.noise_repeat": 4,
    "env.noise_spread": 3,
    "env.reward_normalization": "return",
    "net.hidden_shapes": [8, 8],
    "net.actor_hidden_shapes": [6, 6],
    "net.norm": "layer",
    "net.residual": True,
    "net.critic.kind": "hl_gauss",
    "net.critic.bins": 11,
    "net.critic.combine": "mean",
    "sac.policy_delay": 2,
    "sac.initial_alpha": 0.01,
    "train.n_step": 3,
    "train.lr_schedule": "cosine",
}
OLD_REWARDS = {
    "env.reward_version": "v1",
    "net.kind": "soft_module",
    "net.soft_module.module_hidden": 8,
    "net.soft_module.gating_hidden": 8,
    "sac.temperature_weights": True,
    "system.threads": 2,
    "system.workers": 1,
}

SETUPS: dict[str, dict[str, Any]] = {
    "one task": {},
    "two tasks": MANY,
    "one worker": MANY | {"system.workers": 1},
    "two workers": MANY | {"system.workers": 2},
    "td3": {"algo": "td3"},
    "ddpg": MANY | {"algo": "ddpg"},
    "halfcheetah": {"env.suite": "gymnasium", "env.tasks": ["HalfCheetah-v5"]},
    # Its policy is frozen until the middle of epoch 6; a save falls within that time.
    "transfer": MANY
    | {
        "source": {"train.num_epochs": 3},
        "transfer.load": ["actor", "critic", "alpha", "buffer"],
        "transfer.task_map": {TASKS[1]: TASK},
        "transfer.freeze_updates": 10,
    },
    "overlap": MANY | OVERLAP,
    "curriculum": CURRICULUM,
    "curriculum, overlap": CURRICULUM | OVERLAP,
    "different shapes": DIFFERENT_SHAPES,
    "old rewards": MANY | OLD_REWARDS,
    "few updates": FEW_UPDATES,
}
