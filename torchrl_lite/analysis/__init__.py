"""Runs read back: curves, tables, statistics."""
