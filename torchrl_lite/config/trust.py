"""Protects this process from an untrusted stored configuration."""

from collections.abc import Sequence
from pathlib import Path

from torchrl_lite.config.config import Config
from torchrl_lite.errors import UserError


def check_imports(foreign: Sequence[str], path: Path) -> None:
    """``foreign``: what the configuration stored in ``path`` imports and the user has not named.

    Raises:
        UserError: there is any.
    """
    if foreign:
        raise UserError(
            f"env.imports: {path} would run the code of {', '.join(foreign)}; allow it with "
            "--trust_imports"
        )


def check_cluster(config: Config, path: Path, *, named: str) -> None:
    """
    Raises:
        UserError: the configuration stored in ``path`` joins a cluster the user has not ``named``;
            unpickling what its nodes send can run any code.
    """
    ray = config.system.ray
    if config.system.workers == "ray" and ray.joins and ray.address != named:
        raise UserError(
            f"system.ray.address: {path} would join {ray.address}, whose nodes could run code "
            "here; use --trust_imports, or name it in --config or --set"
        )
