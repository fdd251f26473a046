"""Analysis of runs: curves, tables, statistics."""
