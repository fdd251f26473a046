"""Weights in files: self-contained policies, and weights of other libraries."""
