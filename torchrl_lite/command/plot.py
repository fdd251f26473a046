"""Learning curves and a table of final results."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

FORMATS = (".png", ".svg", ".pdf")


def parse(argv: Sequence[str] | None = None) -> Namespace:
    from torchrl_lite.analysis.axes import AXES
    from torchrl_lite.command.flags import Parser

    parser = Parser(description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("runs", nargs="*", type=Path, help="run directories, or folders that contain them")
    add("--compare", nargs="+", type=Path, default=[], help="more runs to overlay")
    add("--baseline", nargs="+", type=Path, default=[], help="baseline runs for forward transfer")
    add("--metric", choices=["success", "return"], default="success")
    add("--x", choices=list(AXES), default="frames")
    add("--out", type=Path, help="learning curves as .png, .svg or .pdf")
    add("--table", type=Path, help="final results as Markdown (printed by default)")
    return parser.parse_args(argv)


def run(args: Namespace) -> int:
    from torchrl_lite.analysis import forward_transfer, results
    from torchrl_lite.analysis.figures import learning_curves
    from torchrl_lite.analysis.runs import by_experiment, find_runs
    from torchrl_lite.command.flags import check_file
    from torchrl_lite.errors import UserError

    if not args.runs + args.compare:
        raise UserError("give a run directory, or a folder that contains runs")
    if args.out and args.out.suffix not in FORMATS:
        raise UserError(f"--out: {args.out.name!r} must end in one of {', '.join(FORMATS)}")
    check_file("--out", args.out)
    check_file("--table", args.table)
    runs = find_runs(args.runs + args.compare)
    experiments = by_experiment(runs)
    text = results.markdown(list(results.rows(experiments)))
    if args.baseline:
        text += "\n\n" + forward_transfer.table(experiments, find_runs(args.baseline))
    if args.out:
        figure = learning_curves(experiments, metric=args.metric, axis=args.x)
        if not figure.axes:
            other = "return" if args.metric == "success" else "success"
            raise UserError(
                f"--metric: no run has an evaluation of {args.metric}; try --metric {other}"
            )
        args.out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(args.out, dpi=150)
    if args.table:
        args.table.parent.mkdir(parents=True, exist_ok=True)
        args.table.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)
    running = [str(run.path) for run in runs if run.result is None]
    if running:
        print(f"unfinished, so not in the table: {', '.join(running)}", file=sys.stderr)
    return 0


def main() -> int:
    """Returns the exit code."""
    from torchrl_lite.command.start import command

    return command(parse, run, needs=["torchrl_lite.analysis.figures"])
