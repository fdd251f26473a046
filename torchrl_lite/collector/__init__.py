"""From environments to Blocks: episodes, rollouts, workers."""
