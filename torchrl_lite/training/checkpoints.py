"""The checkpoints of a run: complete states, the best weights, and copies of weights to keep."""

import time
from math import inf
from pathlib import Path
from typing import Any

import torch

from torchrl_lite.checkpoint import files
from torchrl_lite.checkpoint.state import check_state
from torchrl_lite.checkpoint.store import Saved, Store
from torchrl_lite.checkpoint.traces import check_not_lost
from torchrl_lite.config import Config
from torchrl_lite.errors import UserError
from torchrl_lite.reporting.console import Row
from torchrl_lite.training import provenance
from torchrl_lite.training.resume import state_of
from torchrl_lite.training.rl_algo import RLAlgo
from torchrl_lite.training.state import TrainingState


class Checkpoints:
    """The folder ``checkpoint`` of a run directory."""

    def __init__(self, folder: Path, config: Config, *, seed: int, device: torch.device) -> None:
        self._folder, self._config, self._seed, self._device = folder, config, seed, device
        self._store = Store(folder / "checkpoint", keep=config.train.keep_checkpoints)
        self.exist = False
        """Whether there is a complete one."""
        self.warnings: list[str] = []
        """Which checkpoints `newest` skipped and why, and what has changed since."""
        self.epoch = 0
        """When the newest was saved."""
        self.cost: Row = {}
        """Time and size of the last save, for the next row of the log."""
        self.best: tuple[float, float] | None = None
        """Success and return of the best weights."""
        self.origin: list[dict[str, Any]] = []
        """What the run started from."""

    def newest(self) -> Saved | None:
        """The newest valid checkpoint; None if the run never had one.

        Raises:
            CheckpointError: there are checkpoints, but none is valid.
            UserError: they are lost, or the run used another type of device.
        """
        saved, damaged = self._store.newest()
        self.warnings = [f"skipped {line}" for line in damaged]
        if saved is None:
            check_not_lost(self._folder)
            return None
        self.exist = True
        trained_on = check_state(TrainingState, saved.state, saved.path).learner.device
        if trained_on != self._device.type:
            raise UserError(f"--device: the run used {trained_on}, not {self._device.type}")
        self.warnings += provenance.changes(self._folder, self._device)
        return saved

    def begin(self) -> None:
        """Removes leftovers of a crash, and writes the run's configuration.

        Raises:
            UserError: it cannot be written.
        """
        files.remove_temporaries(self._folder)
        self._store.tidy()
        provenance.write_head(
            self._folder, self._config, self._device, seed=self._seed, has_checkpoint=self.exist
        )

    def save(self, algo: RLAlgo, *, wall_time: float) -> None:
        """Saves the complete state."""
        started = time.perf_counter()
        state = {
            **state_of(algo),
            "best": self.best and list(self.best),
            "wall_time": wall_time,
            **self._identity(algo),
        }
        size = self._store.save(algo.epoch, state, algo.buffer)
        if not self.exist:
            provenance.write_versions(
                self._folder, self._device, seed=self._seed, has_checkpoint=True
            )
        self.epoch, self.exist = algo.epoch, True
        self.cost = {"time/save_s": time.perf_counter() - started, "time/save_mb": size / 1e6}

    def save_weights(self, algo: RLAlgo, name: str) -> None:
        state = {
            "networks": algo.learner.state_dict(),
            "frames": algo.total_frames,
            **self._identity(algo),
        }
        files.save(self._folder / "checkpoint" / f"{name}.pt", state)

    def save_if_best(self, algo: RLAlgo, evaluation: Row) -> None:
        """By success, then return; by return if no task reports success."""
        success, ret = evaluation["eval/success_rate"], evaluation["eval/return"]
        score = -inf if success is None else float(success), float(ret or 0)
        if self.best is None or score > self.best:
            self.best = score
            self.save_weights(algo, "best")

    def _identity(self, algo: RLAlgo) -> dict[str, Any]:
        """What a run that starts from these weights needs to know."""
        return {
            "config": self._config.model_dump(mode="json"),
            "shapes": algo.learner.spec.shapes,
            "origin": self.origin,
        }
