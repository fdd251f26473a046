"""Rules about settings that prevent learning by themselves, with what was measured as a witness."""

from torchrl_lite.analysis.diagnosis.evidence import Evidence, Finding

MANY_UPDATES = 1000
"""Below this, most figures are still those of the start."""


def no_updates(run: Evidence) -> Finding | None:
    """Training has begun, but nothing was learned from."""
    if run.updates or len(run.log) <= run.field("train.pretrain_epochs"):
        return None
    return Finding(
        f"No update was made in {run.frames:,} frames: "
        f"train.opt_steps is {run.field('train.opt_steps')}.",
        "Set train.opt_steps to at least a twentieth of the frames of an epoch.",
    )


def learning_rate(run: Evidence) -> Finding | None:
    """A learning rate that no network of this size learns with."""
    for name, what in (("qlr", "critics"), ("plr", "policy")):
        rate = run.agent(name)
        if rate is None or 1e-6 <= rate <= 1e-2:
            continue
        kind = "high" if rate > 1e-2 else "low"
        return Finding(
            f"The learning rate of the {what} is far too {kind}: {run.algo}.{name} is {rate:g}.",
            "Values from 1e-4 to 1e-3 are usual; start from 3e-4.",
        )
    return None


def no_target_network(run: Evidence) -> Finding | None:
    """Targets that move with every update of the critics."""
    if run.tracking < 0.2:
        return None
    return Finding(
        f"There is in effect no target network: with {run.algo}.tau {run.agent('tau'):g}, targets "
        f"follow the critics by {run.tracking:.0%} in each update.",
        "Use tau 0.005 to 0.02, or tau 1 with target_update_interval of about 1000 (SAC).",
    )


def discount(run: Evidence) -> Finding | None:
    """A discount that looks hardly ahead, or forever."""
    value = run.agent("discount")
    if value < 0.8:
        return Finding(
            f"The discount is {value:g}: the agent plans {run.horizon:.1f} step(s) ahead.",
            "Use 0.97 to 0.99.",
        )
    if value > 0.9999:
        return Finding(
            f"The discount is {value:g}: values have no bound unless every episode terminates.",
            "Use 0.97 to 0.99, or 0.995 for long tasks.",
        )
    return None


def reward_scale(run: Evidence) -> Finding | None:
    """Rewards that are tiny or huge to the critics."""
    size, scale = run.reward_per_step, run.agent("reward_scale")
    if not size or 1e-3 <= size <= 100:
        return None
    kind = "tiny" if size < 1e-3 else "huge"
    return Finding(
        f"Rewards are {kind}: at most {size:.2g} per step on average after "
        f"{run.algo}.reward_scale {scale:g}.",
        "Scale them to between 0.1 and 10 with reward_scale, or set env.reward_normalization. "
        "If rewards are merely sparse, they need exploration instead.",
    )


def no_exploration(run: Evidence) -> Finding | None:
    """A deterministic policy without noise."""
    if run.is_entropic or run.agent("noise_std") != 0:
        return None
    return Finding(
        f"There is no exploration: {run.algo}.noise_std is 0 and the policy is deterministic.",
        "Use a noise_std of 0.1 to 0.3.",
    )


def fixed_temperature(run: Evidence) -> Finding | None:
    """A fixed temperature at which the policy stays random."""
    alpha, entropy = run.agent("alpha"), run.now("train/entropy")
    if not run.is_entropic or alpha == "auto" or entropy is None:
        return None
    if entropy <= 0 or run.updates < MANY_UPDATES or run.improved() is not False:
        return None
    return Finding(
        f"The temperature is fixed too high: at {run.algo}.alpha {alpha:g} the policy's entropy is "
        f"still {entropy:.2f} after {run.updates:,} updates, so it acts almost at random.",
        f'Set {run.algo}.alpha to "auto", or lower it to a tenth.',
    )


def updates_per_frame(run: Evidence) -> Finding | None:
    """Transitions that are hardly used, or used far too often."""
    frames = run.frames - int(run.random_epochs[-1]["total_frames"] if run.random_epochs else 0)
    if not run.updates or not frames:
        return None
    ratio = run.updates / frames
    uses = ratio * run.field("train.batch_size")
    if uses < 1:
        return Finding(
            f"There are too few updates: {run.updates:,} for {frames:,} frames, so a transition is "
            f"used {uses:.2g} times on average.",
            "Raise train.opt_steps or train.batch_size; 10 to 250 uses are usual.",
        )
    if ratio > 8 and not run.improved():  # ensembles such as REDQ's, and DroQ, learn from 20
        return Finding(
            f"There are too many updates: {ratio:.0f} for each frame. Critics overfit the few "
            "transitions there are.",
            "Lower train.opt_steps to at most one update per frame, or collect with more "
            "env.num_envs; net.norm=layer makes critics more robust.",
        )
    return None


def small_buffer(run: Evidence) -> Finding | None:
    """A buffer that forgets what was a few episodes ago."""
    size, lengths = run.field("replay_buffer.size"), run.values("rollout/ep_len_mean")
    if size is None or not lengths or run.frames < 3 * size:
        return None
    episodes = size / len(run.tasks) / max(lengths[-1], 1)
    if episodes >= 10:
        return None
    return Finding(
        f"The replay buffer is too small: {size:,} transitions are {episodes:.1f} episodes of each "
        f"task, of {run.frames:,} frames seen.",
        "Raise replay_buffer.size to 100,000 per task or more.",
    )
