"""What is wrong with a run: ``python starter/diagnose.py log/MT10_Individual_Tasks/push-v3/1``."""

import sys

if __name__ == "__main__":
    from torchrl_lite.command.diagnose import main

    sys.exit(main())
