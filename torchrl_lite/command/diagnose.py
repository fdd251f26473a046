"""What is wrong with a run, the figure behind it, and what to try."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path


def parse(argv: Sequence[str] | None = None) -> Namespace:
    from torchrl_lite.command.flags import Parser

    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "runs", nargs="+", type=Path, help="run directories, or folders that contain them"
    )
    parser.add_argument(
        "--goals",
        action="store_true",
        help="also evaluate the best weights on every goal: where on the table it fails, as a "
        "sentence, a map (goals.png) and a film (worst_goals.mp4) in the run directory",
    )
    parser.add_argument(
        "--trust_imports", action="store_true", help="import the packages that a run names"
    )
    return parser.parse_args(argv)


def run(args: Namespace) -> int:
    """Prints the findings; returns 1 if there are any, else 0."""
    from torchrl_lite.analysis.diagnosis.evidence import Evidence
    from torchrl_lite.analysis.diagnosis.rules import diagnose, report
    from torchrl_lite.analysis.runs import find_runs

    evidence = [Evidence.of(found) for found in find_runs(args.runs)]
    findings = [diagnose(one) for one in evidence]
    print("\n\n".join(map(report, evidence, findings)))
    for one in evidence if args.goals else ():
        from torchrl_lite.command.goals import report_goals

        print(f"\n{report_goals(one.path, trust_imports=args.trust_imports)}")
    return int(any(findings))


def main() -> int:
    """Returns the exit code."""
    from torchrl_lite.command.start import command

    return command(parse, run, needs=["torchrl_lite.analysis.diagnosis.rules"])
