"""Weights in files: policies that play by themselves, and those of other libraries."""
