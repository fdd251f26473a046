"""Starting a run from the weights and transitions of another one, task by task."""
