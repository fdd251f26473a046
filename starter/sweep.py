"""Many runs on Ray: ``python starter/sweep.py --starter st_sac --tasks 0-9 --seeds 1-5``."""

import sys


def start() -> int:
    from torchrl_lite.command.start import begin, mistake_in

    begin()
    from torchrl_lite.sweep import flags

    mistake = mistake_in(flags.parse)
    if mistake:
        return mistake
    from torchrl_lite.sweep.command import main

    return main()


if __name__ == "__main__":
    sys.exit(start())
