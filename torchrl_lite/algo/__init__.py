"""The algorithms: a configuration section's name, its learner and its model."""

from torchrl_lite.algo.sac import SAC, SACConfig

ALGORITHMS = {"sac": (SAC, SACConfig)}
