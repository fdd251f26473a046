"""An algorithm's Adam optimisers: learning rates, and saved states."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What Adam keeps of each parameter; ``step`` is a scalar."""


class Optimizers(dict[str, Adam]):
    """Adam by the name of what it trains."""

    def __init__(self, device: torch.device, *, accel: str) -> None:
        """``accel``: as in ``system.accel``."""
        super().__init__()
        self._device = device
        self._capturable = device.type == "cuda" and accel != "eager"  # the compiler would set it
        self._as_tensor = device.type == "cuda" or accel == "compile"

    def add(self, name: str, parameters: Iterable[nn.Parameter], *, lr: float, eps: float) -> None:
        adam = Adam(parameters, lr=self._rate(lr), eps=eps, fused=True, capturable=self._capturable)
        adam.param_groups[0]["initial_lr"] = lr
        self[name] = adam

    @property
    def begun(self) -> tuple[str, ...]:
        """Those that have made a step, which creates their moments."""
        return tuple(name for name, optimizer in self.items() if optimizer.state)

    def _rate(self, lr: float) -> float | Tensor:
        """A tensor, if a captured graph would freeze a number or the compiler start again for each
        new one."""
        return torch.tensor(lr, device=self._device) if self._as_tensor else lr

    def scale(self, factor: float) -> None:
        """Multiply all initial learning rates."""
        for group in self._groups():
            group["initial_lr"] *= factor
        self.schedule(1.0)

    def schedule(self, share: float) -> None:
        """Set every learning rate to ``share`` of its initial value."""
        for group in self._groups():
            rate = share * group["initial_lr"]
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)  # a captured graph reads this tensor
            else:
                group["lr"] = rate

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.values() for group in optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        return {name: optimizer.state_dict() for name, optimizer in self.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Raises:
            LookupError, ValueError: it is the state of other optimisers.
        """
        for name, optimizer in self.items():
            _check(optimizer, state[name])
            optimizer.load_state_dict(state[name])
        for group in self._groups():
            group["lr"] = self._rate(float(group["lr"]))  # loaded tensors are on the CPU


def _check(optimizer: Adam, state: dict[str, Any]) -> None:
    """Torch checks neither shapes nor settings."""
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
                raise ValueError(f"an optimiser's {key} must be float32 of shape {list(shape)}")
