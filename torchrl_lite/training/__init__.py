"""The epoch loop, and everything that a run keeps while it goes on."""
