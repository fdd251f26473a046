"""What a run starts from: weights and transitions of others, put in place task by task."""
