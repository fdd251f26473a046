"""How the machine is used, and rollout workers on Ray."""

import json
import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from torchrl_lite.config.hints import nearest
from torchrl_lite.config.section import Few, Section


def check_address(address: str) -> None:
    """
    Raises:
        ValueError: not a valid Ray address.
    """
    known = ["local", "auto"]
    if address not in known and not re.fullmatch(r"[A-Za-z0-9.-]+:[0-9]{1,5}", address):
        raise ValueError(
            f'address: {json.dumps(address)} is not allowed; it must be "local", "auto" or '
            f"HOST:PORT{nearest(address, known)}"
        )


class RayConfig(Section):
    """Rollout workers as Ray actors, if ``system.workers`` is "ray"."""

    address: str = Field(
        "local",
        description='"local" starts Ray on this machine and ends it with the run; "auto" or '
        "HOST:PORT joins a running cluster",
    )
    num_workers: Few = Field(1, description="Ray actors that share the environments")
    cpus_per_worker: Few = Field(
        1, description="CPUs that Ray reserves per actor; it computes on one"
    )

    @property
    def joins(self) -> bool:
        """Whether the address names a machine, which the run then trusts."""
        return self.address not in ("local", "auto")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_address(self.address)
        return self


class SystemConfig(Section):
    """How the machine is used. ``overlap`` and ``matmul_precision`` change what is learned;
    ``threads`` and ``accel`` change only rounding; with all others, results are bit-identical."""

    workers: Literal["auto", "ray"] | Annotated[int, Field(ge=0, le=2**10)] = Field(
        "auto",
        description='rollout processes; 0: collect in the main process; "ray": Ray actors',
    )
    ray: RayConfig = Field(RayConfig(), description="Ray actors, if workers is ray")
    accel: Literal["auto", "eager", "compile", "graph"] = Field(
        "auto",
        description="how updates run: eager, torch.compile, or a captured graph (CUDA only); "
        "auto: eager",
    )
    overlap: bool = Field(False, description="collect the next epoch while the learner updates")
    threads: Literal["auto"] | Few = Field(
        "auto",
        description="CPU threads of the learner; auto: all cores, at most OMP_NUM_THREADS",
    )
    matmul_precision: Literal["highest", "high", "medium"] = Field(
        "highest", description="precision of float32 matrix products"
    )
    grace_seconds: Annotated[float, Field(ge=0, le=10**6)] = Field(
        20.0,
        description="seconds that the running epoch has to finish and be saved after a signal",
    )
    env_timeout_s: Annotated[float, Field(gt=0, le=10**6)] = Field(
        300.0, description="seconds after which a hung environment stops the run"
    )

    @property
    def num_workers(self) -> int:
        """Number of workers of either kind, once ``auto`` is resolved."""
        return self.ray.num_workers if self.workers == "ray" else int(self.workers)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.overlap and self.workers == 0:
            raise ValueError("overlap: needs at least one worker, but workers is 0")
        return self
