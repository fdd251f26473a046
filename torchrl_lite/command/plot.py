"""Learning curves and a table of final results."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")


def parse(argv: Sequence[str] | None = None) -> Namespace:
    from torchrl_lite.analysis.axes import AXES
    from torchrl_lite.command.flags import Parser, count

    parser = Parser(description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("runs", nargs="*", type=Path, help="run directories, or folders that contain them")
    add("--compare", nargs="+", type=Path, default=[], help="more runs to overlay")
    add("--baseline", nargs="+", type=Path, default=[], help="baseline runs for forward transfer")
    add("--metric", default="success", help="success (default), return, or a column of the log")
    add("--x", choices=list(AXES), default="frames")
    add("--smooth", type=count, default=1, metavar="N", help="mean of the N latest points")
    add("--no_markers", action="store_true", help="lines only, without marks at evaluations")
    add("--out", type=Path, help="learning curves as .png, .svg or .pdf")
    add("--heat_map", type=Path, metavar="FILE", help="all tasks over time, as .png, .svg or .pdf")
    add("--table", type=Path, help="final results as Markdown (printed by default)")
    return parser.parse_args(argv)


def run(args: Namespace) -> int:
    from torchrl_lite.analysis import forward_transfer, results
    from torchrl_lite.analysis.figures import learning_curves
    from torchrl_lite.analysis.heat_map import heat_map
    from torchrl_lite.analysis.runs import by_experiment, check_metric, find_runs
    from torchrl_lite.command.flags import check_file
    from torchrl_lite.errors import UserError

    if not args.runs + args.compare:
        raise UserError("give a run directory, or a folder that contains runs")
    for flag, path in (("--out", args.out), ("--heat_map", args.heat_map)):
        if path and path.suffix not in FORMATS:
            raise UserError(f"{flag}: {path.name!r} must end in one of {', '.join(FORMATS)}")
        check_file(flag, path)
    check_file("--table", args.table)
    runs = find_runs(args.runs + args.compare)
    check_metric(args.metric, runs)
    experiments = by_experiment(runs)
    text = results.markdown(list(results.rows(experiments)))
    if args.baseline:
        text += "\n\n" + forward_transfer.table(experiments, find_runs(args.baseline))
    shown = {"metric": args.metric, "axis": args.x, "smooth": args.smooth}
    if args.out:
        _save(learning_curves(experiments, **shown, markers=not args.no_markers), args.out, args)
    if args.heat_map:
        _save(heat_map(experiments, **shown), args.heat_map, args)
    if args.table:
        args.table.parent.mkdir(parents=True, exist_ok=True)
        args.table.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)
    running = [str(run.path) for run in runs if run.result is None]
    if running:
        print(f"unfinished, so not in the table: {', '.join(running)}", file=sys.stderr)
    return 0


def _save(figure: "Figure", path: Path, args: Namespace) -> None:
    from torchrl_lite.errors import UserError

    if not figure.axes:
        other = "return" if args.metric == "success" else "success"
        raise UserError(f"--metric: no run has a value of {args.metric}; try --metric {other}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> int:
    """Returns the exit code."""
    from torchrl_lite.command.start import command

    return command(parse, run, needs=["torchrl_lite.analysis.figures"])
