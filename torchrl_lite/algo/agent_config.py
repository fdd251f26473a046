"""The configuration that all algorithms have in common."""

from pydantic import Field

from torchrl_lite.config import NetConfig, NonNegative, Positive, Section, Unit
from torchrl_lite.network.actor import Actor
from torchrl_lite.types import Spec


class AgentConfig(Section):
    """The fields of every algorithm's section. An algorithm's own code applies ``tau``,
    ``grad_clip``, ``reward_scale`` and ``bc_weight``; batches have the discount already."""

    discount: Unit = Field(0.99, description="discount factor per step")
    tau: Unit = Field(0.005, description="target update rate; 1 copies the weights")
    plr: Positive = Field(3e-4, description="learning rate of the policy")
    qlr: Positive = Field(3e-4, description="learning rate of the Q functions")
    adam_eps: Positive = Field(1e-8, description="epsilon of every Adam optimiser")
    grad_clip: Positive | None = Field(
        None,
        description="maximum gradient norm of the policy and of all critics jointly; null: none",
    )
    reward_scale: Positive = Field(
        1.0,
        description="constant factor of rewards in targets, besides env.reward_normalization",
    )
    bc_weight: NonNegative = Field(
        0.0, description="weight of behaviour cloning in the policy's loss, with train.demos"
    )

    def make_actor(self, net: NetConfig, spec: Spec) -> Actor:
        """A new actor, to train or to load the weights of a stored policy into."""
        raise NotImplementedError
