"""DDPG on many tasks with one policy: ``python starter/mt_ddpg.py --config config/mt10.json``."""

import sys

if __name__ == "__main__":  # rollout workers import this file too, but must not run it
    from torchrl_lite.command.start import train

    sys.exit(train("ddpg", multi_task=True))
