"""All rules, the most likely explanation first."""

from collections.abc import Callable, Sequence

from torchrl_lite.analysis.diagnosis import critics, progress, settings
from torchrl_lite.analysis.diagnosis.evidence import Evidence, Finding

Rule = Callable[[Evidence], Finding | None]

RULES: Sequence[Rule] = (
    # A setting that explains everything else.
    settings.no_updates,
    settings.learning_rate,
    settings.no_target_network,
    settings.discount,
    settings.no_exploration,
    settings.fixed_temperature,
    settings.reward_scale,
    settings.small_buffer,
    settings.updates_per_frame,
    # What broke down.
    critics.bins_too_narrow,
    critics.diverging_critics,
    critics.temperature_at_bound,
    critics.dead_networks,
    critics.saturated_policy,
    critics.biased_critics,
    critics.overfitting,
    critics.dominating_task,
    # What is left to say when all of that is in order.
    progress.local_optimum,
    progress.early_certainty,
    progress.noise,
    progress.no_learning,
)


def diagnose(run: Evidence) -> list[tuple[str, Finding]]:
    """What is wrong, with the name of the rule that says so."""
    found = ((rule.__name__, rule(run)) for rule in RULES)
    return [(name, finding) for name, finding in found if finding is not None]


def report(run: Evidence, findings: Sequence[tuple[str, Finding]]) -> str:
    """Everything about a run in sentences; ``findings`` are those of `diagnose`."""
    lines = [f"{run.path}: {_summary(run)}"]
    for number, (name, finding) in enumerate(findings, start=1):
        lines += ["", f"{number}. {finding.problem} [{name}]", f"   Try: {finding.advice}"]
    if len(lines) == 1:
        lines.append(f"nothing found by {len(RULES)} rules")
    return "\n".join(lines)


def _summary(run: Evidence) -> str:
    parts = [f"{len(run.log)} epochs, {run.frames:,} frames, {run.updates:,} updates"]
    for column, name in (("eval/success_rate", "success"), ("eval/return", "return")):
        value = run.final.get(column, run.now(column))
        if value is not None:
            parts.append(f"{name} {value:.4g}")
    if len(run.log) <= run.field("train.pretrain_epochs"):
        parts.append("only random actions so far, so it is too early to tell")
    return ", ".join(parts)
