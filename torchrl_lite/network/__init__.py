"""Networks: layers, bodies made of them, and the actors and critics that use those."""

from torchrl_lite.network.actor import Actor, DeterministicPolicy, GaussianPolicy
from torchrl_lite.network.build import build, build_critic
from torchrl_lite.network.critic import CategoricalCritic, Critic, ScalarCritic
from torchrl_lite.network.task_rows import places_of_task_rows, task_parameters

__all__ = [
    "Actor",
    "CategoricalCritic",
    "Critic",
    "DeterministicPolicy",
    "GaussianPolicy",
    "ScalarCritic",
    "build",
    "build_critic",
    "places_of_task_rows",
    "task_parameters",
]
