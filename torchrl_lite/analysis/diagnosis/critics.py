"""Rules about critics, temperature and networks."""

from statistics import median

from torchrl_lite.analysis.diagnosis.evidence import Evidence, Finding
from torchrl_lite.analysis.diagnosis.settings import MANY_UPDATES


def _gentler(run: Evidence) -> str:
    return (
        f"Set {run.algo}.grad_clip to 1, lower {run.algo}.qlr to a third, or scale rewards; "
        f"net.norm=layer and {_categorical(run)} cannot diverge as easily."
    )


def _categorical(run: Evidence) -> str:
    """Their range has no room for the entropy bonus of a large temperature."""
    also = f", {run.algo}.initial_alpha=0.01" if run.is_entropic else ""
    return f"categorical critics (net.critic.kind=c51{also})"


def diverging_critics(run: Evidence) -> Finding | None:
    """Values far beyond any possible return, or gradients that grew by orders of magnitude."""
    q, start = run.now("train/q"), run.early("train/q")
    if q is None or start is None:
        return None
    if run.reward_per_step:
        limit = (run.reward_per_step + run.entropy_bonus) * run.horizon
        if abs(q) > 10 * limit and abs(q) > 3 * abs(start):
            return Finding(
                f"The critics diverge: train/q is {q:.3g}, but the rewards so far can add up to "
                f"{limit:.3g} at most.",
                _gentler(run),
            )
    norm, first = run.now("train/critic_grad_norm"), run.early("train/critic_grad_norm")
    if norm and first and norm > 1e4 * first:
        return Finding(
            f"The critics diverge: the norm of their gradient grew from {first:.2g} to {norm:.2g}.",
            _gentler(run),
        )
    return None


def bins_too_narrow(run: Evidence) -> Finding | None:
    """Rewards or an entropy bonus that add up to more than a categorical critic can predict."""
    if run.field("net.critic.kind") == "scalar":
        return None
    bound, steps = run.field("net.critic.bound"), run.horizon
    alpha, entropy = run.now("train/alpha") or 0.0, run.now("train/entropy") or 0.0
    bonus, rewards = alpha * abs(entropy) * steps, (run.reward_per_step or 0.0) * steps
    if max(bonus, rewards) <= bound:
        return None
    if bonus > rewards:
        what = f"an entropy bonus at a temperature of {alpha:.2g} adds up to {bonus:.3g}"
        advice = f"Set {run.algo}.initial_alpha to 0.01, or alpha to a small fixed value."
    else:
        what = f"the rewards so far can add up to {rewards:.3g}"
        advice = f'Set env.reward_normalization to "return", or net.critic.bound to {rewards:.3g}.'
    return Finding(
        f"The critics' bins end at {bound:g}, but {what}; what is beyond is lost.", advice
    )


def biased_critics(run: Evidence) -> Finding | None:
    """Values at the start of evaluation episodes far from the return that followed."""
    q, bias = run.now("eval/q"), run.now("eval/q_bias")
    length = run.now("eval/ep_len_mean")
    if q is None or bias is None or length is None or run.updates < MANY_UPDATES:
        return None
    if run.agent("discount") ** length > 0.2:  # most of the return is behind the time limit
        return None
    followed = q - bias
    slack = run.entropy_bonus * run.horizon + _resolution(run)
    if abs(bias) <= slack:
        return None
    figures = f"{q:.3g} at the start of an episode, but {followed:.3g} followed (in scaled rewards)"
    if bias > 2 * abs(followed):
        return Finding(
            f"The critics overestimate: {figures}.",
            'Use net.critic.combine "min", a smaller tau or fewer updates per frame; see '
            "eval/td_error for overfitting.",
        )
    if bias < -2 * abs(followed):
        return Finding(
            f"The critics underestimate: {figures}.",
            'Use net.critic.combine "mean", n-step returns (train.n_step=5), or more updates.',
        )
    if abs(q) < abs(followed) / 4 and run.updates > run.updates_to_settle:
        return Finding(
            f"The critics lag behind the returns: {figures}. The policy improves on values that "
            "are not there yet.",
            "Make more updates, raise tau or the critics' learning rate, or use n-step returns "
            "(train.n_step=5).",
        )
    return None


def _resolution(run: Evidence) -> float:
    """Differences that mean nothing: a part of a categorical critic's range."""
    categorical = run.field("net.critic.kind") != "scalar"
    return 0.1 * run.field("net.critic.bound") if categorical else 0.0


def temperature_at_bound(run: Evidence) -> Finding | None:
    """A learned temperature that vanished or runs away."""
    alphas, entropy = run.values("train/alpha"), run.now("train/entropy")
    if not run.is_entropic or run.agent("alpha") != "auto" or not alphas:
        return None
    start, now = run.agent("initial_alpha"), alphas[-1]
    target = run.agent("target_entropy")
    if now < 1e-4 and run.improved() is False:
        return Finding(
            f"The temperature collapsed: train/alpha is {now:.1g}, so nothing makes the policy "
            "explore any more.",
            "Check the scale of the rewards (env.reward_version, reward_scale), or raise "
            f"{run.algo}.target_entropy.",
        )
    misses = isinstance(target, int | float) and entropy is not None and entropy < target - 0.5
    if now >= 0.9 * max(alphas) and now > (3 if misses else 100) * start:
        return Finding(
            f"The temperature runs away: train/alpha grew from {start:g} to {now:.3g}"
            + (f", and the entropy, {entropy:.2f}, is still below its target {target:g}." if misses
               else "."),
            f'Set {run.algo}.target_entropy to "auto"; an entropy above 0.69 per action '
            "dimension cannot be reached.",
        )  # fmt: skip
    return None


def dominating_task(run: Evidence) -> Finding | None:
    """One task whose loss drowns those of all others."""
    losses = {task: run.now(f"train_q1_loss/{task}") for task in run.trained_tasks}
    known = {task: loss for task, loss in losses.items() if loss}
    if len(known) < 2 or run.field("net.kind") == "independent":
        return None
    task = max(known, key=lambda name: known[name])
    others = median(loss for name, loss in known.items() if name != task)
    share = known[task] / sum(known.values())
    if share < 0.5 or known[task] < 10 * others:
        return None
    learned = run.is_entropic and run.agent("alpha") == "auto"
    weighted = learned and run.field("train.gradients") not in ("famo", "gradnorm")
    weights = f"{run.algo}.temperature_weights=true, " if weighted else ""
    return Finding(
        f"One task dominates: {task} has {share:.0%} of the critics' loss "
        f"({known[task]:.3g}; the median of the others is {others:.3g}).",
        f'Set env.reward_normalization to "return", {weights}or {_categorical(run)}, '
        "whose loss does not grow with the values.",
    )


def overfitting(run: Evidence) -> Finding | None:
    """A loss on fresh transitions far above that on the buffer's."""
    fresh, stored = run.now("eval/td_error"), run.now("train/q1_loss")
    if fresh is None or not stored or run.field("train.n_step") != 1 or run.has_stages:
        return None
    categorical = run.field("net.critic.kind") != "scalar"
    if run.updates < MANY_UPDATES or fresh < (3 if categorical else 10) * stored:
        return None
    return Finding(
        f"The critics overfit: their loss is {fresh:.3g} on evaluation transitions "
        f"(eval/td_error) and {stored:.3g} on the replay buffer (train/q1_loss).",
        "Make fewer updates per frame, collect with more environments, or use net.norm=layer.",
    )


def dead_networks(run: Evidence) -> Finding | None:
    """Networks of which hardly anything responds to the input."""
    for name in ("actor", "critic"):
        share = run.now(f"eval/dead_{name}")
        if share is not None and share > 0.9:
            return Finding(
                f"The {name} is dead: {share:.0%} of its hidden units are 0 on every evaluation "
                "transition.",
                "Lower its learning rate, set grad_clip to 1, or use net.norm=layer. The run does "
                "not recover from this; start again.",
            )
    return None


def saturated_policy(run: Evidence) -> Finding | None:
    """A policy that only ever pushes to the limits, and gains nothing by it."""
    share = run.now("eval/saturated")
    if share is None or share < 0.95 or run.updates < MANY_UPDATES:
        return None
    if run.improved() is not False:  # nor if that is unknown
        return None
    return Finding(
        f"The policy is stuck at the limits of the actions: {share:.0%} of its actions are beyond "
        "±0.99, where its gradient vanishes.",
        f"Lower {run.algo}.plr, scale rewards down, or set grad_clip to 1; check that observations "
        "are of order 1.",
    )
