"""Learning curves: ``python starter/plot.py log/MT10_Individual_Tasks --out curves.png``."""

import argparse
import sys
from pathlib import Path

from torchrl_lite.config import ConfigError
from torchrl_lite.figures import learning_curves, table
from torchrl_lite.results import by_experiment, find_runs

FORMATS = (".png", ".svg", ".pdf")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("runs", nargs="*", type=Path, help="run directories, or folders of them")
    parser.add_argument("--compare", nargs="+", type=Path, default=[], help="overlay these too")
    parser.add_argument("--metric", choices=["success", "return"], default="success")
    parser.add_argument("--x", choices=["frames", "hours"], default="frames")
    parser.add_argument("--out", type=Path, help="curves as .png, .svg or .pdf")
    parser.add_argument("--table", type=Path, help="final results as Markdown (else printed)")
    args = parser.parse_args()
    try:
        if not args.runs + args.compare:
            raise ConfigError("name a run directory or a folder of them")
        if args.out and args.out.suffix not in FORMATS:
            raise ConfigError(f"--out: {args.out.name!r} ends in none of {', '.join(FORMATS)}")
        experiments = by_experiment(find_runs(args.runs + args.compare))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        learning_curves(experiments, metric=args.metric, axis=args.x).savefig(args.out, dpi=150)
    if args.table:
        args.table.write_text(table(experiments) + "\n", encoding="utf-8")
    else:
        print(table(experiments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
