"""Whether an optimiser's stored state fits it: torch checks neither shapes nor settings."""

from typing import Any

import torch

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What Adam keeps of each parameter; ``step`` is a scalar."""


def check_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """
    Raises:
        LookupError, ValueError: it is the state of another optimiser.
    """
    groups = zip(optimizer.state_dict()["param_groups"], state["param_groups"], strict=True)
    for own, stored in groups:
        for key in own.keys() & stored.keys() - {"lr", "initial_lr"}:
            if own[key] != stored[key]:
                raise ValueError(f"an optimiser with {key} {stored[key]!r}, not {own[key]!r}")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, moments in state["state"].items():
        for key in MOMENTS:
            shape = () if key == "step" else parameters[index].shape
            moment = moments[key]
            if moment.shape != shape or moment.dtype != torch.float32 or moment.is_sparse:
                raise ValueError(f"an optimiser with a {key} that is no float32 {list(shape)}")
