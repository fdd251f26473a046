"""What a run was made from and with: its configuration, versions and machine."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from torchrl_lite import __version__
from torchrl_lite.checkpoint.files import write_text
from torchrl_lite.config import Config
from torchrl_lite.errors import UserError


def write_head(folder: Path, config: Config, device: torch.device, seed: int) -> None:
    """``params.json`` and ``versions.json``.

    Raises:
        UserError: they cannot be written.
    """
    machine = {"platform": platform.platform(), "device": describe(device)}
    try:
        write_text(folder / "params.json", config.model_dump_json(indent=2) + "\n")
        text = json.dumps({**versions(), **machine, "seed": seed}, indent=2)
        write_text(folder / "versions.json", text + "\n")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None


def versions() -> dict[str, str]:
    packages = ("torch", "numpy", "gymnasium", "metaworld", "mujoco")
    return {
        "python": platform.python_version(),
        "torchrl_lite": __version__,
        **{name: version(name) for name in packages},
    }


def describe(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({len(os.sched_getaffinity(0))} cores)"
