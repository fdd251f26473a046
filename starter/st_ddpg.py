"""DDPG on one task: ``python starter/st_ddpg.py --task_id 3 --seed 1``."""

import sys

if __name__ == "__main__":  # rollout workers import this file too, but must not run it
    from torchrl_lite.command.start import train

    sys.exit(train("ddpg"))
