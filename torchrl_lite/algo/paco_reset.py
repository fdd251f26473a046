"""PaCo's reset of tasks whose loss explodes (Sun et al. 2022, arXiv:2210.11653).

Where a task's loss exceeds a threshold, it does not count in this update, and the task starts again
from what the others have learned:

    w_task = sum_j beta_j w_j,    beta_j >= 0,  sum_j beta_j = 1,    over all other tasks j

As in the authors' code, beta is uniformly distributed before it is normalised. Deviations:

1. The loss is that of the critics; in the authors' code the actor's and the temperature's are
   added to it, and are masked with it. Here the actor is updated after the reset.
2. The same beta applies to the actor's, the critics' and the targets' ``w``, since they are
   separate; in the authors' code the actor and the critics share one.
3. Adam's moments of the new ``w`` start from zero. The authors keep those of the old.
"""

from collections.abc import Iterator, Mapping
from math import inf

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.optim import Adam

from torchrl_lite.config import NetConfig
from torchrl_lite.network.paco import PacoNetwork
from torchrl_lite.network.task_rows import as_rows

Losses = Float[Tensor, " n"]
Tasks = Int[Tensor, " n"]


class NoReset:
    """For all other networks."""

    METRICS: tuple[str, ...] = ()

    def draw(self, generator: torch.Generator) -> None:
        """Draw the random numbers of the next update, in place."""

    def mask(self, losses: Losses, *, frozen: bool) -> Losses:  # noqa: ARG002
        """The critics' losses, without a gradient for diverging tasks; of a ``frozen`` policy, no
        task is reset."""
        return losses

    def apply(self, task: Tasks) -> None:
        """After the critics' step: reset those tasks."""

    def measured(self) -> dict[str, Tensor]:
        """`METRICS` of the last update, each ``[n]``."""
        return {}


class PacoReset(NoReset):
    """Masks the losses of diverging tasks, and composes their networks anew."""

    METRICS = ("reset",)
    _diverged: Bool[Tensor, " n"]

    def __init__(
        self, learner: nn.Module, optimizers: Mapping[str, Adam], *, threshold: float
    ) -> None:
        self._w = [part.w for part in learner.modules() if isinstance(part, PacoNetwork)]
        self._optimizers = optimizers
        self._threshold = threshold
        num_tasks = self._w[0].shape[1]
        self._beta = torch.zeros(num_tasks, num_tasks, device=self._w[0].device)

    def draw(self, generator: torch.Generator) -> None:
        self._beta.uniform_(generator=generator)

    def mask(self, losses: Losses, *, frozen: bool) -> Losses:
        above = losses.detach() > (inf if frozen else self._threshold)
        self._diverged = above & ~above.all()  # at least one task must be left to start from
        return torch.where(self._diverged, losses.detach(), losses)

    def measured(self) -> dict[str, Tensor]:
        return {"reset": self._diverged.float()}

    @torch.no_grad()
    def apply(self, task: Tasks) -> None:
        n, diverged = len(task), self._diverged
        beta = self._beta[:n, :n].masked_fill(diverged, 0)
        beta = beta / beta.sum(1, keepdim=True)
        for w in self._w:
            rows = w[:, task]
            w.index_copy_(1, task, torch.where(as_rows(diverged, rows), beta @ rows, rows))
        for moment in self._moments():
            rows = moment[:, task]
            moment.index_copy_(1, task, rows.masked_fill(as_rows(diverged, rows), 0))

    def _moments(self) -> Iterator[Tensor]:
        for optimizer in self._optimizers.values():
            for w in self._w:
                if w in optimizer.state:
                    yield from (optimizer.state[w][key] for key in ("exp_avg", "exp_avg_sq"))


def paco_reset(learner: nn.Module, optimizers: Mapping[str, Adam], net: NetConfig) -> NoReset:
    """What ``net`` asks for."""
    if net.kind != "paco" or net.paco.reset_loss is None:
        return NoReset()
    return PacoReset(learner, optimizers, threshold=net.paco.reset_loss)
