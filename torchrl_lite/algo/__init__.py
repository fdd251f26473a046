"""Learners, replay buffer, reward scales and update modes (eager, compiled, CUDA graph)."""
