"""Speed on this machine, compared with other libraries: ``python starter/bench.py env``."""

import sys

if __name__ == "__main__":  # workers import this file too, but must not run it
    from torchrl_lite.bench.command import main

    sys.exit(main())
