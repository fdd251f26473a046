"""Checks the shapes in the project's signatures at run time, in every test."""

import torch
from jaxtyping import install_import_hook

install_import_hook("torchrl_lite", "shape_checker.checked")  # before anything imports the package

torch.set_num_threads(1)
