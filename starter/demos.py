"""Records experts: ``python starter/demos.py --task pick-place-v3 --episodes 50``."""

import sys

if __name__ == "__main__":
    from torchrl_lite.command.demos import main

    sys.exit(main())
