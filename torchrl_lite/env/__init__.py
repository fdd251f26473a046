"""Meta-World and Gymnasium environments, and their rendering."""
