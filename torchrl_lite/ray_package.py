"""The way to Ray, whose package is optional."""

import importlib
import os
from typing import Any

from torchrl_lite.config import ConfigError


def connect(address: str, *, key: str, **own: Any) -> Any:
    """The package, connected: for ``local`` to a cluster that it starts here with the options
    ``own``, else to the one at the address. ``key`` is what gave the address.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = _package()
    if address == "local":  # Ray's default, 15, starves beside anything else
        os.environ.setdefault("RAY_worker_niceness", "0")
    options = {"include_dashboard": False, **own} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"{key}: {address!r}: {reason}") from None
    return ray


def _package() -> Any:
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        ray = None
    if not hasattr(ray, "init"):  # a folder named ray can be imported too
        raise ConfigError(
            "the package ray, which sweep.py and system.workers=ray need, is not there; "
            "python -m pip install -e '.[ray]'"
        )
    return ray
