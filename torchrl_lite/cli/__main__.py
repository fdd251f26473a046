"""``python -m torchrl_lite.cli``: the same where no script is installed."""

import sys

from torchrl_lite.cli.main import main

if __name__ == "__main__":  # workers import this file too, and run nothing of it
    sys.exit(main())
