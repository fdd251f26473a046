"""Checks the array shapes in the package's signatures at run time, in every test."""

import signal
from pathlib import Path

import torch
from shape_checker import check_shapes

ROOT = Path(__file__).parents[1]


def modules_with_shapes() -> list[str]:
    """All other hints are left to mypy: checking them at every call is slow."""
    files = (ROOT / "torchrl_lite").rglob("*.py")
    return [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in files
        if "from jaxtyping import" in file.read_text(encoding="utf-8")
    ]


# Must run before anything imports the package.
check_shapes(modules_with_shapes())

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it, but tests send it

torch.set_num_threads(1)
