"""Loads and checks a configuration, given by name, file or mapping."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.config import Config, load
from torchrl_lite.config.shipped import find_config


def load_config(
    source: str | Path | Mapping[str, Any] = "base_st", *overrides: str, algo: str | None = None
) -> Config:
    """Loads and checks the configuration of a training run.

    ``source``: a shipped configuration such as ``"mt10"`` or ``"mujoco/halfcheetah"``; a .json or
    .yaml file, which takes precedence over a shipped name; or a mapping of sections. ``overrides``
    are written as for ``--set``, such as ``"train.num_epochs=5"``. ``algo`` is ``"sac"``,
    ``"td3"`` or ``"ddpg"``; default: the one that ``source`` names, else SAC.

    Raises:
        UserError: the file does not exist, or a field is unknown or has an invalid value.
    """
    given = source if isinstance(source, Mapping) else find_config(source)
    return load(given, overrides, sections=SECTIONS, algo=algo)
