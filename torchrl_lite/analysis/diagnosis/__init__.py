"""What is wrong with a run, from its files alone."""
