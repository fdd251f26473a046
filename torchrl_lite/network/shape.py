"""The sizes of a network body."""

from typing import NamedTuple

from torchrl_lite.network.initialisation import Scheme
from torchrl_lite.network.layers import EnsembleLinear


class Shape(NamedTuple):
    """What an architecture is built from, beside the ``net`` section."""

    num_tasks: int
    obs_dim: int
    act_dim: int
    """0 for an actor, which does not see the action."""
    hidden: list[int]
    outputs: int
    ensemble: int
    scheme: Scheme

    @property
    def inputs(self) -> int:
        return self.obs_dim + self.act_dim

    def head(self, width: int, *, per_task: bool = False) -> EnsembleLinear:
        """The linear output behind a layer of this width."""
        rows = self.num_tasks if per_task else 1
        return EnsembleLinear(
            width,
            self.outputs,
            ensemble=self.ensemble,
            weight_rows=rows,
            bias_rows=rows,
            init=self.scheme.head,
        )
