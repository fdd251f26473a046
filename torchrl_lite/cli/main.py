"""``torchrl-lite COMMAND``, one of `COMMANDS`, also as ``python -m torchrl_lite.cli``."""

import sys
from collections.abc import Sequence
from importlib import import_module

ALGORITHMS = ("sac", "td3", "ddpg")
"""Listed here because the registry imports torch."""
COMMANDS = {
    "train": f"train a policy on one task or many: train {'|'.join(ALGORITHMS)}",
    "play": "evaluate and show a policy",
    "demos": "record Meta-World's experts as demonstrations",
    "plot": "plot learning curves and tabulate final results",
    "diagnose": "find what is wrong with a run, and what to try",
    "sweep": "start many runs, or search for hyperparameters",
    "bench": "measure speed on this machine, compared with other libraries",
}
_HOME = {"sweep": "sweep.start", "bench": "bench.command"}
"""Modules of commands that are not in ``command``."""


def main() -> int:
    """Runs a subcommand and returns its exit code; 2 if it is unknown."""
    from torchrl_lite.command.start import begin

    begin()
    program, *words = ["torchrl-lite", *sys.argv[1:]]
    name = words[0] if words else "--help"
    if name in ("-h", "--help"):
        print(_usage())
        return 0
    if name == "--version":
        from torchrl_lite import __version__

        print(__version__)
        return 0
    if name not in COMMANDS:
        return _mistake(f"{name!r} is not a command", name, list(COMMANDS))
    sys.argv[:] = [f"{program} {name}", *words[1:]]
    if name == "train":
        return _train()
    return import_module(f"torchrl_lite.{_HOME.get(name, f'command.{name}')}").main()


def _usage() -> str:
    head = "usage: torchrl-lite COMMAND [flags]; COMMAND --help shows its flags"
    return "\n".join([head, *(f"  {name:<9}{meaning}" for name, meaning in COMMANDS.items())])


def _mistake(message: str, name: str, known: Sequence[str]) -> int:
    from torchrl_lite.config import nearest

    hint = nearest(name, known)
    print(f"error: {message}; choose from {', '.join(known)}{hint}", file=sys.stderr)
    return 2


def _train() -> int:
    """Runs as a training starter, for one task or many."""
    program, *words = sys.argv
    algo = words[0] if words else "--help"
    if algo in ("-h", "--help"):
        print(f"usage: {program} {'|'.join(ALGORITHMS)} [flags]; {program} sac --help shows them")
        return 0
    if algo not in ALGORITHMS:
        return _mistake(f"train: {algo!r} is not an algorithm", algo, ALGORITHMS)
    sys.argv[:] = [f"{program} {algo}", *words[1:]]
    from torchrl_lite.command.start import train

    return train(algo, multi_task=None)
