"""What a configuration found in a file may make this process do."""

from collections.abc import Sequence
from pathlib import Path

from torchrl_lite.config.models import Config
from torchrl_lite.errors import UserError


def check_imports(config: Config, path: Path, *, named: Sequence[str] = ()) -> None:
    """
    Raises:
        UserError: a configuration found in ``path`` imports what the user has not ``named``.
    """
    foreign = [package for package in config.env.imports if package not in named]
    if foreign:
        raise UserError(
            f"env.imports: {path} would import {', '.join(foreign)}, which runs their code; give "
            "--trust_imports, or in training name them by --config or --set"
        )


def check_cluster(config: Config, path: Path, *, named: str) -> None:
    """
    Raises:
        UserError: a configuration found in ``path`` joins a cluster that the user has not
            ``named``; what its nodes send is unpacked here, which can run any code.
    """
    ray = config.system.ray
    if config.system.workers == "ray" and ray.joins and ray.address != named:
        raise UserError(
            f"system.ray.address: {path} would join {ray.address}, whose nodes could run code "
            "here; give --trust_imports, or name it by --config or --set"
        )
