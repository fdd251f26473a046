"""Demonstrations in training: their buffer, and their part in running statistics."""

from torchrl_lite.algo.learner import Learner
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.algo.reward_scale import RewardScale
from torchrl_lite.algo.sampler import SymmetricSampler
from torchrl_lite.demos.file import Demonstrations


def with_demos(
    buffer: ReplayBuffer,
    demos: Demonstrations,
    learner: Learner,
    *,
    scale: RewardScale | None,
) -> SymmetricSampler:
    """``buffer`` and a buffer of the demonstrations, behind one sampler.

    For the reward scale and the normalisation of observations, demonstrations count as collected
    before the first epoch: a cloned policy would not survive a change of its inputs.
    """
    spec = learner.spec
    capacity = max(demos.transitions(task) for task in spec.tasks)
    shown = ReplayBuffer(spec, capacity, buffer.data.device)
    for index, task in enumerate(spec.tasks):
        block = demos.block(task, spec)
        shown.add_block(block, [index])
        learner.observe(block, [index])
        if scale is not None:
            rew, first = (part[index].double().numpy() for part in (block.rew, block.first))
            scale.recall(index, rew, first)
            buffer.reward_scale.copy_(scale.factors())
    return SymmetricSampler(buffer, shown)
