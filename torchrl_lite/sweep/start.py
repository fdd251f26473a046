"""Starts a sweep: its flags are checked before Ray and torch are imported."""


def main() -> int:
    from torchrl_lite.command.start import begin, imported, mistake_in

    begin()
    from torchrl_lite.sweep import flags

    mistake = mistake_in(flags.parse) or mistake_in(lambda: imported("torchrl_lite.sweep.command"))
    if mistake:
        return mistake
    from torchrl_lite.sweep.command import main as run

    return run()
