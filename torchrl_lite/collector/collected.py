"""A collected epoch, and its form in a checkpoint."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.collector.info import Reported
from torchrl_lite.collector.protocol import Cost
from torchrl_lite.types import Block


class Collected(NamedTuple):
    """A collected epoch. ``block`` is valid until the next `Collector.submit`."""

    block: Block
    episodes: list[EpisodeStats]
    cost: Cost

    def state_dict(self) -> dict[str, Any]:
        """In plain types."""
        return {
            "block": {name: tensor.clone() for name, tensor in self.block._asdict().items()},
            "episodes": [
                vars(stats) | {"info": {name: list(pair) for name, pair in stats.info.items()}}
                for stats in self.episodes
            ],
            "cost": list(self.cost),
        }

    @classmethod
    def of(cls, state: Mapping[str, Any], block: Block) -> Self:
        """Copies the transitions into ``block``."""
        for name, tensor in state["block"].items():
            getattr(block, name).copy_(tensor)
        return cls(block, [_stats(tree) for tree in state["episodes"]], Cost(*state["cost"]))


def _stats(tree: Mapping[str, Any]) -> EpisodeStats:
    info = {name: Reported(*numbers) for name, numbers in tree["info"].items()}
    return EpisodeStats(**{**tree, "info": info})
