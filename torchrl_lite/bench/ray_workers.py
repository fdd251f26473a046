"""Process workers and Ray actors on ten MT10 environments: frame rate, and overhead per epoch."""

import time
from collections import defaultdict
from contextlib import ExitStack
from statistics import median

from torchrl_lite.bench.collect import one_thread, ten_envs
from torchrl_lite.bench.measure import Contender, Report, interleave
from torchrl_lite.collector.collector import Collector
from torchrl_lite.collector.protocol import WorkerPool
from torchrl_lite.collector.ray_worker import RayPool
from torchrl_lite.collector.setup import RolloutSetup
from torchrl_lite.collector.worker import ProcessPool
from torchrl_lite.config import RayConfig
from torchrl_lite.env.make import make_spec
from torchrl_lite.types import Block


def measure(*, frames: int, rounds: int, workers: int) -> list[Report]:
    """One worker and ``workers`` workers, of both kinds.

    Raises:
        UserError: Ray is not installed.
    """
    config, actor = ten_envs()
    spec, tasks = make_spec(config), range(len(config.tasks))
    numbers = sorted({1, workers})
    overhead: dict[str, list[float]] = defaultdict(list)

    def contender(collector: Collector, name: str, tasks: range) -> Contender:
        def run() -> int:
            started = time.perf_counter()
            collector.submit(actor, tasks, random=False)
            seconds = collector.result().cost.seconds
            overhead[name].append(1000 * (time.perf_counter() - started - seconds))
            return frames * len(tasks)

        return run

    setup = RolloutSetup(config, spec, actor, seed=1)
    with ExitStack() as stack, one_thread():
        ray = stack.enter_context(RayPool(RayConfig(num_workers=sum(numbers))))
        pools: dict[str, WorkerPool] = {"x process": ProcessPool(), "x actor": ray}
        full, empty = {}, {}
        for number in numbers:
            for kind, pool in pools.items():
                collector = stack.enter_context(
                    Collector(setup, epoch_frames=frames, workers=number, pool=pool)
                )
                name = f"{number} {kind}"
                full[name] = contender(collector, f"{name}, an epoch", tasks)
                empty[name] = contender(collector, f"{name}, weights alone", range(0))
        rates = interleave(full, rounds)
        interleave(empty, 10 * rounds)
    out = sum(weights.nbytes for weights in actor.parameters())
    back = sum(rows.nbytes for rows in Block.zeros(spec, frames, config.copies))
    milliseconds = {name: median(values[1:]) for name, values in overhead.items()}
    title = f"MT10, {frames} frames of ten environments, 3 x 400 policy"
    costs = f"Overhead: {out:,} bytes of weights out, {back:,} bytes of transitions back"
    first = f"{workers} x process"
    return [
        Report(title, "frames/s", first, rates),
        Report(costs, "ms", f"{first}, an epoch", milliseconds),
    ]
