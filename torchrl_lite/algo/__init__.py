"""The mathematics, and what it runs on: learners, replay buffer, reward scales, graphs."""
