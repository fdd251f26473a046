"""A checked configuration from a name, a file or a mapping."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.config import Config, check, merge, nest, parse_override, read_tree
from torchrl_lite.config.shipped import find_config


def load_config(
    source: str | Path | Mapping[str, Any] = "base_st", *overrides: str, algo: str | None = None
) -> Config:
    """The configuration of a training.

    ``source``: a shipped configuration such as ``"mt10"`` or ``"mujoco/halfcheetah"``; a .json or
    .yaml file, which wins over a shipped name; or sections as a mapping. ``overrides`` are fields
    as in ``--set``, such as ``"train.num_epochs=5"``. ``algo`` is ``"sac"``, ``"td3"`` or
    ``"ddpg"``; by default the one that ``source`` names, else SAC.

    Raises:
        UserError: there is no such file, or a field is unknown or not allowed.
    """
    if isinstance(source, Mapping):
        tree, name = dict(source), "configuration"
    else:
        path = find_config(source)
        tree, name = read_tree(path), str(path)
    for override in overrides:
        tree = merge(tree, nest(*parse_override(override)))
    chosen = algo or tree.get("algo", next(iter(SECTIONS)))
    return check(tree, algo=chosen, sections=SECTIONS, source=name)
