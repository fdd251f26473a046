"""Connects to Ray, an optional package."""

import os
import re
import socket
from typing import Any

from torchrl_lite.config.extras import import_extra
from torchrl_lite.errors import UserError, first_line

REACHABLE_S = 10.0


def connect(address: str, *, key: str, **own: Any) -> Any:
    """Return the connected package. For ``local``, start a cluster here with the options ``own``;
    else join the one at the address. ``key`` names the source of the address in errors.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address != "local":  # if something else listens there, Ray would retry 20 times 35 s
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")
    ray = import_extra("ray", "ray", needed_by=key)
    if named := re.fullmatch(r"([\w.-]+):(\d+)", address):
        _check_reachable(named[1], int(named[2]), f"{key}: {address!r}")
    if address == "local":  # Ray's default of 15 starves on a busy machine
        os.environ.setdefault("RAY_worker_niceness", "0")
    options = {"include_dashboard": False, **own} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"{key}: {address!r}: {first_line(error)}") from None
    return ray


def _check_reachable(host: str, port: int, place: str) -> None:
    """Fail early: Ray itself would retry for minutes."""
    try:
        socket.create_connection((host, port), timeout=REACHABLE_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"{place}: not reachable ({error})") from None
