"""Layers, bodies made of them, and the actors and critics that use those."""
