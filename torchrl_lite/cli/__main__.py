"""``python -m torchrl_lite.cli``: the same command, without an installed script."""

import sys

from torchrl_lite.cli.main import main

if __name__ == "__main__":  # workers import this file too, but must not run it
    sys.exit(main())
