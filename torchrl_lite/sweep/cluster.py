"""A sweep on Ray: the cluster, Ray tasks with their resources, and their outcomes."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torchrl_lite.collector.ray_connection import connect
from torchrl_lite.collector.worker import signals_blocked
from torchrl_lite.sweep import task
from torchrl_lite.sweep.base import Runner
from torchrl_lite.sweep.trial import MAX_RETRIES, Outcome, Trial


class Cluster(Runner):
    """A Ray cluster: started on this machine for ``local``, else the one at an address."""

    def __init__(self, address: str) -> None:
        """
        Raises:
            UserError: Ray is not installed, or there is no cluster at the address.
        """
        super().__init__()
        # Ray's processes inherit the mask: they are in our process group, which a scheduler
        # signals as a whole, and must outlive the runs.
        with signals_blocked() if address == "local" else nullcontext():
            # A small object store: only exit codes are sent back.
            self._ray = connect(address, key="--address", object_store_memory=2**27)

    def too_small_for(self, *, cpus: int, gpus: float) -> str:
        """A message if no node is large enough for a run, else empty."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        for flag, name, wanted in (("--cpus", "CPU", cpus), ("--gpus", "GPU", gpus)):
            most = max(node.get(name, 0) for node in nodes)
            if wanted > most:
                return f"{flag}: {wanted:g}, but the largest node has {most:g}"
        if any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
            return ""
        return f"--cpus and --gpus: no node has {cpus} CPUs and {gpus:g} GPUs"

    def slots(self, *, cpus: int, gpus: float) -> int:
        """How many runs of this size the nodes have room for, other work aside."""
        wanted = [(name, size) for name, size in (("CPU", cpus), ("GPU", gpus)) if size]
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return sum(min(int(node.get(name, 0) / size) for name, size in wanted) for node in nodes)

    def submit(self, trials: Sequence[Trial], *, cpus: int, gpus: float) -> None:
        remote = self._ray.remote(
            num_cpus=cpus,
            num_gpus=gpus,
            max_retries=MAX_RETRIES,
            retry_exceptions=[task.StoppedError],
        )(task.run)
        for trial in trials:
            reference = remote.options(name=trial.name).remote(trial, Path.cwd())
            self._trials[reference] = trial

    def finished(self, seconds: float) -> list[tuple[Trial, Outcome]]:
        waiting = list(self._trials)
        done, _ = self._ray.wait(waiting, num_returns=1, timeout=seconds)
        more, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        return [(self._trials.pop(ref), self._outcome(ref)) for ref in {*done, *more}]

    def _outcome(self, reference: Any) -> Outcome:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return Outcome(1, lines[-1] if lines else type(error).__name__)

    def node_of(self, folder: Path) -> str | None:
        """The address of the live node that trains a run for this sweep."""
        mark = task.read_mark(folder)
        if mark is None or mark["job"] != self._ray.get_runtime_context().get_job_id():
            return None
        alive = {n["NodeID"]: n["NodeManagerAddress"] for n in self._ray.nodes() if n["Alive"]}
        return alive.get(mark["node"])

    def cancel(self, trial: Trial) -> None:
        for reference, other in self._trials.items():
            if other == trial:
                self._ray.cancel(reference)

    def close(self) -> None:
        self._ray.shutdown()
