"""Rules about returns and success."""

from statistics import fmean

from torchrl_lite.analysis.diagnosis.evidence import LATE, Evidence, Finding

PATIENCE = 5000
"""Updates before which a return that does not grow means nothing."""


def local_optimum(run: Evidence) -> Finding | None:
    """Tasks whose return has grown and stands still, without any success."""
    stuck = [text for task in run.trained_tasks if (text := _stuck(run, task))]
    if not stuck:
        return None
    entropy = f", a larger (less negative) {run.algo}.target_entropy" if run.is_entropic else ""
    return Finding(
        " ".join(stuck),
        "Film the policy (starter/play.py --run DIR --video x.mp4). What often helps: another "
        f"seed, more frames{entropy}{_or_exploration(run)}.",
    )


def _stuck(run: Evidence, task: str) -> str | None:
    returns, successes = (run.values(f"eval_{name}/{task}") for name in ("return", "success"))
    if len(successes) < 2 * LATE or any(successes[-LATE:]) or not run.improved(task):
        return None
    random = run.random_return(task)
    if random is None or run.updates < PATIENCE or _grows(returns):
        return None
    grew = f"the return grew from {random[0]:.0f} (random actions) to {fmean(returns[-LATE:]):.0f}"
    return (
        f"{task} is in a local optimum: {grew} and stands still, but success is 0. "
        f"{_phase(run, task)}"
    )


def _or_exploration(run: Evidence) -> str:
    held = "noise that is held (env.noise_repeat=16)"
    spread = "noise that differs between several environments (env.noise_spread=4)"
    options = {held: run.field("env.noise_repeat") > 1, spread: run.field("env.noise_spread") > 1}
    return "".join(f", or {text}" for text, used in options.items() if not used)


def _grows(returns: list[float]) -> bool:
    """Whether the last third is clearly above the third before."""
    third = len(returns) // 3
    before, last = fmean(returns[-2 * third : -third]), fmean(returns[-third:])
    return last - before > 0.1 * (max(returns) - min(returns))


def _phase(run: Evidence, task: str) -> str:
    """What Meta-World's own signals say of how far the policy gets."""
    near, grasp = (run.now(f"info_mean/{name}/{task}") for name in ("near_object", "grasp_success"))
    distance = run.now(f"info_last/obj_to_target/{task}")
    if near is None or grasp is None or distance is None:
        return "Its log does not say in which phase (log.info)."
    if near < 0.05:
        return f"The hand is never near the object (near_object {near:.2f} of the steps)."
    if grasp < 0.05:
        return (
            f"The hand is near the object (near_object {near:.2f} of the steps) but does not grasp "
            f"it (grasp_success {grasp:.2f})."
        )
    return (
        f"It is grasped or touched (grasp_success {grasp:.2f}) but not placed: at the end it is "
        f"{distance:.2f} m from its target (obj_to_target)."
    )


def early_certainty(run: Evidence) -> Finding | None:
    """A policy that stopped exploring before the first success."""
    if not run.is_entropic or not run.never_succeeded or run.updates < PATIENCE:
        return None
    target = run.agent("target_entropy")
    if target == "auto":
        if run.field("env.suite") != "metaworld":
            return None
        target = -4.0  # minus the dimensions of its actions
    margin = 0.1 * abs(target)
    low = (row for row in run.log if row.get("train/entropy", target + 1) < target + margin)
    fell = next(low, None)
    if fell is None or fell["total_frames"] > run.frames / 2:
        return None
    return Finding(
        f"The entropy fell before any success: it reached {fell['train/entropy']:.1f} at frame "
        f"{fell['total_frames']:,.0f} of {run.frames:,}, and no episode has succeeded yet.",
        f"Raise {run.algo}.target_entropy (-2 instead of -4 on Meta-World), or start with more "
        f"random epochs{_or_exploration(run)}.",
    )


def noise(run: Evidence) -> Finding | None:
    """Evaluation and training that disagree, on average or in a task."""
    places = [  # of fewer episodes each
        (f"eval_success/{task}", f"rollout_success/{task}", f"success in {task}", 2 * LATE)
        for task in run.trained_tasks
    ]
    if not run.has_stages:
        places.insert(0, ("eval/success_rate", "rollout/success_rate", "success", LATE))
    found = (_apart(run, *place) for place in places)
    return next((finding for finding in found if finding), None)


def _apart(run: Evidence, evaluation: str, training: str, what: str, enough: int) -> Finding | None:
    evaluated, trained = run.now(evaluation), run.now(training)
    if evaluated is None or trained is None or abs(evaluated - trained) < 0.5:
        return None
    if len(run.values(evaluation)) < enough:
        return None
    figures = f"{what} is {evaluated:.2f} in evaluation and {trained:.2f} in training"
    if evaluated > trained:
        if run.field("env.noise_spread") > 1:  # asks for environments whose episodes fail
            return None
        return Finding(
            f"Exploration noise ruins training episodes: {figures}.",
            f"Lower {run.algo}.{'target_entropy' if run.is_entropic else 'noise_std'}. What counts "
            "is the evaluation, so nothing is wrong if it stays high.",
        )
    entropy = (
        f"; a lower {run.algo}.target_entropy moves the mean action to where the noise succeeds"
    )
    return Finding(
        f"The deterministic policy is worse than the noisy one: {figures}.",
        f"Train longer{entropy if run.is_entropic else ''}. Check that evaluation has enough "
        "episodes (train.eval_episodes).",
    )


def no_learning(run: Evidence) -> Finding | None:
    """A return that is that of random actions, over all tasks or in some."""
    if run.updates < PATIENCE:
        return None
    if not run.has_stages and (of_all := _idle(run)) is not None:
        return Finding(
            f"Nothing was learned: {of_all}.",
            "Check the environment first: play a random episode and look at its rewards. Then try "
            f"the shipped configuration of a similar task, and more frames.{_or_mixed_up(run)}",
        )
    idle = [f"In {task}, {text}." for task in run.trained_tasks if (text := _idle(run, task))]
    if not idle:
        return None
    return Finding(
        f"Nothing was learned in {len(idle)} of {len(run.tasks)} tasks. {' '.join(idle)}",
        "Others learn, so harder tasks may only need more frames. Else train one of these alone: "
        "if that learns, try another net.kind or train.gradients.",
    )


def _idle(run: Evidence, task: str | None = None) -> str | None:
    """What the return is, if it is that of random actions and nothing succeeded."""
    names = ("eval/return", "eval/success_rate")
    if task is not None:
        names = (f"eval_return/{task}", f"eval_success/{task}")
    random, returns, successes = run.random_return(task), *map(run.values, names)
    if random is None or len(returns) < LATE or run.improved(task) or any(successes):
        return None
    return (
        f"the return is {fmean(returns[-LATE:]):.4g} after {run.updates:,} updates, and that of "
        f"random actions is {random[0]:.4g}"
    )


def _or_mixed_up(run: Evidence) -> str:
    if len(run.tasks) < 2:
        return ""
    return " Also train one of the tasks alone: if that learns, tasks may be mixed up (a wrong id)."
