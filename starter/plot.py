"""Learning curves: ``python starter/plot.py log/MT10_Individual_Tasks --out curves.png``."""

import sys

if __name__ == "__main__":
    from torchrl_lite.command.plot import main

    sys.exit(main())
