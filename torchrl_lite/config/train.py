"""The epoch loop and the replay buffer."""

from math import cos, pi
from typing import Annotated, Literal

from pydantic import Field

from torchrl_lite.config.section import Count, Few, Natural, Section, Size, Unit


class ReplayBufferConfig(Section):
    """The replay buffer."""

    size: Count = Field(1_000_000, description="capacity in transitions, over all tasks")


class TrainConfig(Section):
    """The epoch loop."""

    num_epochs: Natural = Field(1980, description="training epochs, excluding pretrain epochs")
    pretrain_epochs: Natural = Field(
        20, description="epochs of uniform random actions before the first update"
    )
    epoch_frames: Count = Field(500, description="frames per environment in an epoch")
    opt_steps: Natural = Field(500, description="updates per epoch")
    batch_size: Count = Field(256, description="transitions per update, over all tasks")
    n_step: Few = Field(1, description="n of the n-step returns")
    gradients: Literal["mean", "pcgrad", "cagrad", "famo", "gradnorm"] = Field(
        "mean", description="how the tasks' gradients are combined in shared parameters"
    )
    lr_schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="schedule of all learning rates"
    )
    lr_final: Unit = Field(0.5, description="final fraction of the learning rates (linear, cosine)")
    eval_interval: Count = Field(40, description="epochs between evaluations")
    eval_episodes: Size = Field(10, description="episodes per task in an evaluation")
    final_eval_episodes: Size = Field(50, description="episodes per task in the final evaluation")
    save_interval: Count = Field(20, description="epochs between checkpoints")
    keep_checkpoints: Count = Field(2, description="newest complete checkpoints to keep")
    snapshot_interval: Count | None = Field(
        None, description="epochs between permanent copies of the weights; null: none"
    )
    demos: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="a file of demonstrations, for half of each batch; null: none"
    )
    bc_updates: Natural = Field(
        0, description="updates before training in which the policy imitates the demonstrations"
    )

    def lr_share(self, updates: int) -> float:
        """Fraction of the learning rates that the schedule leaves after this many updates; the
        schedule ends with the last epoch."""
        progress = min(1.0, updates / max(1, self.num_epochs * self.opt_steps))
        falls = {"constant": 0.0, "linear": progress, "cosine": (1 - cos(pi * progress)) / 2}
        return 1 - (1 - self.lr_final) * falls[self.lr_schedule]
