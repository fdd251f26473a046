"""Evaluates and shows a policy: ``python starter/play.py --run DIR --video play.mp4``."""

import sys

if __name__ == "__main__":  # workers import this file too, but must not run it
    from torchrl_lite.command.play import main

    sys.exit(main())
