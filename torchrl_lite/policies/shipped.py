"""Policies that ship with the package, by name."""

from pathlib import Path

from torchrl_lite.config import nearest
from torchrl_lite.config.shipped import shipped_folder
from torchrl_lite.errors import UserError
from torchrl_lite.policies.file import SUFFIX

FOLDER = shipped_folder("pretrained")


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))


def find(name: str) -> Path:
    """
    Raises:
        UserError: there is none of this name; the message lists the available ones.
    """
    there = names()
    if name not in there:
        raise UserError(
            f"--pretrained: {name!r} does not exist; available: {', '.join(there) or 'none'}"
            f"{nearest(name, there)}"
        )
    return FOLDER / f"{name}{SUFFIX}"
