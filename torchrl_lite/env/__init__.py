"""Environments: Meta-World, Gymnasium, and how they are drawn."""
