"""Many runs at once: ``python starter/sweep.py --starter st_sac --tasks 0-9 --seeds 1-5``."""

import sys

if __name__ == "__main__":
    from torchrl_lite.sweep.start import main

    sys.exit(main())
