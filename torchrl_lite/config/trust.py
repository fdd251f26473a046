"""Protects this process from an untrusted stored configuration."""

from collections.abc import Mapping
from pathlib import Path

from torchrl_lite.config.config import Config
from torchrl_lite.errors import UserError


def check_imports(foreign: Mapping[str, str], path: Path) -> None:
    """``foreign``: the packages that the configuration stored in ``path`` imports and the user has
    not named, each with what speaks against it, if that is known.

    Raises:
        UserError: there is any.
    """
    if foreign:
        named = (f"{name} ({why})" if why else name for name, why in foreign.items())
        raise UserError(
            f"env.imports: {path} would run the code of {', '.join(named)}; allow it with "
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
