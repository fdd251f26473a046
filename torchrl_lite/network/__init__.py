"""Layers, network bodies, actors and critics."""
