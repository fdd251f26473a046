"""The command ``torchrl-lite``: every starter as a subcommand."""
