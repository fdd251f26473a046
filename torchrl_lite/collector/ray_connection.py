"""The way to Ray, whose package is optional."""

import importlib
import os
import re
import socket
from typing import Any

from torchrl_lite.errors import UserError

REACHABLE_S = 10.0


def connect(address: str, *, key: str, **own: Any) -> Any:
    """The package, connected: for ``local`` to a cluster that it starts here with the options
    ``own``, else to the one at the address. ``key`` is what gave the address.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address != "local":  # where something else than Ray listens, it would try 20 times 35 s
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")
    ray = _package()
    if named := re.fullmatch(r"([\w.-]+):(\d+)", address):
        _check_reachable(named[1], int(named[2]), f"{key}: {address!r}")
    if address == "local":  # Ray's default, 15, starves beside anything else
        os.environ.setdefault("RAY_worker_niceness", "0")
    options = {"include_dashboard": False, **own} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{key}: {address!r}: {reason}") from None
    return ray


def _check_reachable(host: str, port: int, place: str) -> None:
    """Ray itself would try for minutes."""
    try:
        socket.create_connection((host, port), timeout=REACHABLE_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"{place}: nobody answers there ({error})") from None


def _package() -> Any:
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        ray = None
    if not hasattr(ray, "init"):  # a folder named ray can be imported too
        raise UserError(
            "the package ray, which sweep.py and system.workers=ray need, is not there; "
            "python -m pip install -e '.[ray]'"
        )
    return ray
