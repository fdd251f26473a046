"""Provenance of a run: its configuration, versions and machine."""

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from torchrl_lite import __version__
from torchrl_lite.checkpoint.files import write_text
from torchrl_lite.checkpoint.records import Versions, read_versions
from torchrl_lite.config import Config
from torchrl_lite.config.machine import cores, cpu_name
from torchrl_lite.errors import UserError
from torchrl_lite.policies.own_modules import record_modules


def write_head(
    folder: Path, config: Config, device: torch.device, *, seed: int, has_checkpoint: bool
) -> None:
    """Writes ``params.json`` and ``versions.json``, in this order, and what it imports.

    Raises:
        UserError: they cannot be written.
    """
    try:
        write_text(folder / "params.json", config.model_dump_json(indent=2) + "\n")
        if config.env.imports:
            record_modules(folder, config.env.imports)
        write_versions(folder, device, seed=seed, has_checkpoint=has_checkpoint)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None


def write_versions(folder: Path, device: torch.device, *, seed: int, has_checkpoint: bool) -> None:
    """Writes ``versions.json``; ``has_checkpoint``: whether a complete checkpoint exists."""
    record = Versions(
        seed=seed,
        platform=platform.platform(),
        device=describe(device),
        cpu=cpu_name(),
        has_checkpoint=has_checkpoint,
        **versions(),
    )
    write_text(folder / "versions.json", record.model_dump_json(indent=2) + "\n")


def changes(folder: Path, device: torch.device) -> list[str]:
    """A line on what may change the rounding since ``versions.json`` was written, if anything."""
    try:
        before = read_versions(folder)
    except UserError as error:
        return [str(error)]
    if before is None:
        return []
    then, now = {"cpu": before.cpu, **before.others}, {"cpu": cpu_name(), **versions()}
    if device.type == "cuda":
        then["device"], now["device"] = before.device, describe(device)
    changed = [
        f"{name} was {then[name]}, is {value}"
        for name, value in now.items()
        if then.get(name, value) not in ("", value)
    ]
    more = "the rest of the run may differ from an uninterrupted one"
    return [f"{'; '.join(changed)}: {more}"] if changed else []


def versions() -> dict[str, str]:
    packages = ("torch", "numpy", "gymnasium", "metaworld", "mujoco")
    return {
        "python": platform.python_version(),
        "torchrl_lite": __version__,
        **commit(),
        **{name: version(name) for name in packages},
    }


@cache
def commit() -> dict[str, str]:
    """The Git commit of this code, with ``-dirty`` after local changes; empty if it is installed
    rather than checked out."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return {}
    ask = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(ask, cwd=root, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": done.stdout.strip()}


def describe(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({cores()} cores)"
