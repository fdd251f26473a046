"""Interleaved timing, median rates, tables with ratios, and a file with the hardware."""

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from torchrl_lite.config.machine import cores, cpu_name

PACKAGES = ("torch", "numpy", "gymnasium", "metaworld", "mujoco", "stable-baselines3", "envpool")

Contender = Callable[[], int]
"""Does some work and returns the amount: frames or updates."""


@dataclass
class Report:
    """Rates of contenders, with ratios to ``baseline`` and to the upper limit ``floor``."""

    title: str
    unit: str
    baseline: str
    rates: dict[str, float] = field(default_factory=dict)
    floor: tuple[str, float] | None = None

    def show(self, console: Console) -> None:
        table = Table(title=self.title, title_justify="left")
        for column in ("", self.unit, f"x {self.baseline}", "of the limit"):
            table.add_column(column, justify="left" if not column else "right")
        for name, rate in self.rates.items():
            ratio = f"{rate / self.rates[self.baseline]:.2f}" if self.baseline in self.rates else ""
            part = f"{rate / self.floor[1]:.2f}" if self.floor else ""
            table.add_row(name, f"{rate:,.{0 if rate >= 1000 else 1}f}", ratio, part)
        if self.floor:
            table.add_row(f"limit: {self.floor[0]}", f"{self.floor[1]:,.0f}", "", "1.00")
        console.print(table)


def overrides(settings: Mapping[str, Any]) -> list[str]:
    """``--set`` for each of these fields."""
    return [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]


def interleave(contenders: dict[str, Contender], rounds: int) -> dict[str, float]:
    """The median rate of each contender over ``rounds`` rounds, after one warm-up round. All take
    turns within a round, so that drift of the machine affects them equally."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for counted in [False] + [True] * rounds:
        for name, contender in contenders.items():
            started = time.perf_counter()
            work = contender()
            if counted:
                rates[name].append(work / (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in rates.items()}


def hardware() -> dict[str, str | int]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "cpu": cpu_name(),
        "cores": cores(),
        "gpu": gpu,
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write(path: Path, reports: Sequence[Any]) -> None:
    data = {
        "hardware": hardware(),
        "versions": versions(),
        "reports": [asdict(report) for report in reports],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
