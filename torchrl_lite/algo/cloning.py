"""Behaviour cloning: the loss of a policy that imitates demonstrations."""

from jaxtyping import Float
from torch import Tensor

from torchrl_lite.algo.sampler import demos_in
from torchrl_lite.network.actor import Actor
from torchrl_lite.types import Batch


def bc_loss(actor: Actor, batch: Batch, *, demos: int) -> Float[Tensor, " T"]:
    """Mean over the last ``demos`` transitions of the squared distance |pi(s) - a|^2 between
    the deterministic action and the demonstrated one.

    Nair et al. 2018, "Overcoming Exploration in Reinforcement Learning with Demonstrations"
    (arXiv:1709.10089), L_BC of section IV-B, without the Q filter.
    """
    start = batch.act.shape[1] - demos
    act = actor.act(batch.obs[:, start:], batch.task)
    return (act - batch.act[:, start:]).square().sum(-1).mean(1)


def with_bc(
    losses: Float[Tensor, " T"], actor: Actor, batch: Batch, *, weight: float
) -> tuple[Float[Tensor, " T"], dict[str, Tensor]]:
    """Add ``weight`` times `bc_loss` on the batch's demonstrations to the actor's losses; also
    returns it as a metric."""
    if not weight:
        return losses, {}
    imitation = bc_loss(actor, batch, demos=demos_in(batch.act.shape[1]))
    return losses + weight * imitation, {"bc_loss": imitation.detach()}
