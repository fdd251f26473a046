"""Off-policy reinforcement learning on Meta-World and Gymnasium in plain PyTorch."""

__version__ = "0.1.0"
