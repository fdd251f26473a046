"""From a command line to a finished run."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from torchrl_lite.algo import accel
from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.command import flags
from torchrl_lite.command.job import Job, check_job, is_finished, work
from torchrl_lite.command.options import find_device, request, resolve
from torchrl_lite.command.report import telling
from torchrl_lite.config import Config, model, reference
from torchrl_lite.errors import UserError, is_out_of_memory
from torchrl_lite.reporting import wandb
from torchrl_lite.training.signals import Interrupted, SignalGuard


def main(algo: str, argv: Sequence[str] | None = None, *, multi_task: bool | None = False) -> int:
    """Runs a starter and returns its exit code: 0 done, 2 a user error, 130 or 143 stopped by a
    signal, 1 anything else."""
    try:
        return flags.answer(
            lambda: _main(algo, sys.argv[1:] if argv is None else argv, multi_task=multi_task)
        )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        cause = str(error).partition("\n")[0] or "out of memory"
        print(
            f"error: {cause}\nlower replay_buffer.size, train.batch_size or net.hidden_shapes "
            "(or the sizes in net.soft_module; the replay buffer is on the learner's device)",
            file=sys.stderr,
        )
        return 1


def _main(algo: str, argv: Sequence[str], *, multi_task: bool | None) -> int:
    args = flags.parse(algo, argv, multi_task=multi_task)
    if args.help_config:
        for key, kind, default, meaning in reference(model(algo, SECTIONS)):
            print(f"{key} = {default}\n    {meaning} ({kind})")
        return 0
    asked, folder, resuming, _ = request(args, algo, multi_task=multi_task)
    try:
        with telling(folder):
            return _run(asked, args, folder, resuming=resuming)
    except Interrupted as interrupted:
        saved = any((folder / "checkpoint").glob("last_*.json"))
        how = "continues from the last checkpoint" if saved else "starts again: nothing was saved"
        print(f"stopped by {interrupted}; --resume {how}", file=sys.stderr)
        return 128 + interrupted.signum


def _run(asked: Config, args: Namespace, folder: Path, *, resuming: bool) -> int:
    """Checks everything that can be checked before building anything, then trains."""
    name = args.run_name or "/".join(folder.parts[-3:])
    job = Job(
        resolve(asked),
        find_device(args.device),
        args.seed,
        folder,
        resume=args.resume,
        resuming=resuming,
        until=args.until,
        tracked_as=name if args.track else None,
    )
    if is_finished(job):
        print(f"{folder} is finished; raise train.num_epochs to extend it")
        return 0
    check_job(job)
    if args.track:
        wandb.check()
    elif args.run_name is not None:
        raise UserError("--run_name: names the run on Weights & Biases, so it needs --track")
    accel.prepare(job.config.system.accel)
    with SignalGuard(job.config.system.grace_seconds) as guard:
        result = work(job, guard)
    return 0 if guard.requested is None or result is not None else 128 + guard.requested
