"""The configuration that all algorithms have in common."""

from pydantic import Field

from torchrl_lite.config import NonNegative, Positive, Section, Unit


class AgentConfig(Section):
    """The fields of every algorithm's section; `Learner` and its users read them."""

    discount: Unit = Field(0.99, description="discount factor per step")
    tau: Unit = Field(0.005, description="target update rate; 1 copies the weights")
    plr: Positive = Field(3e-4, description="learning rate of the policy")
    qlr: Positive = Field(3e-4, description="learning rate of the Q functions")
    adam_eps: Positive = Field(1e-8, description="epsilon of every Adam optimiser")
    grad_clip: Positive | None = Field(
        None,
        description="maximum gradient norm of the policy and of all critics jointly; null: none",
    )
    reward_scale: Positive = Field(1.0, description="multiplier of sampled rewards")
    bc_weight: NonNegative = Field(
        0.0, description="weight of behaviour cloning in the policy's loss, with train.demos"
    )
