"""Demonstrations: recording, files, and other formats."""
