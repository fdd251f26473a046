"""Demonstrations in training: their buffer, and their part in the reward scale."""

from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.algo.reward_scale import RewardScale
from torchrl_lite.algo.sampler import SymmetricSampler
from torchrl_lite.demos.file import Demonstrations
from torchrl_lite.types import Spec


def with_demos(
    buffer: ReplayBuffer,
    demos: Demonstrations,
    spec: Spec,
    *,
    scale: RewardScale | None,
) -> SymmetricSampler:
    """``buffer`` and a buffer of the demonstrations, behind one sampler.

    For the scale of rewards, demonstrations count as collected before the first epoch.
    """
    capacity = max(demos.transitions(task) for task in spec.tasks)
    shown = ReplayBuffer(spec, capacity, buffer.data.device)
    for index, task in enumerate(spec.tasks):
        block = demos.block(task, spec)
        shown.add_block(block, [index])
        if scale is not None:
            buffer.reward_scale.copy_(scale.update(block, [index]))
    return SymmetricSampler(buffer, shown)
