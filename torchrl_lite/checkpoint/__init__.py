"""What a run leaves on disk so that it can go on: files, the store of checkpoints, the lock."""
