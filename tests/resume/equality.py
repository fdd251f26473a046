"""Checks that two run directories are bit-identical."""

import csv
import json
from pathlib import Path
from typing import Any


def compare(run: Path, reference: Path) -> None:
    """Compares weights, optimiser moments, temperatures, transitions, logs and results bit by bit.

    Raises:
        AssertionError: something differs, or a file is missing or unexpected.
    """
    import torch
    from helpers import complete_state, newest_checkpoint
    from tiny_runs import assert_same_bits

    def comparable(path: Path) -> Any:
        if path.suffix == ".csv":
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            return [{k: v for k, v in r.items() if k[:5] not in ("time/", "rate/")} for r in rows]
        if path.suffix == ".json":
            return {k: v for k, v in json.loads(path.read_text()).items() if k != "wall_time_s"}
        return torch.load(path, weights_only=True)

    weights = [path.name for path in (reference / "checkpoint").glob("[!l]*.pt")]
    assert "epoch_5.pt" in weights
    for name in ("params.json", "versions.json", "log.csv", "result.json",
                 *(f"checkpoint/{name}" for name in weights)):  # fmt: skip
        assert_same_bits(comparable(run / name), comparable(reference / name), name)
    policies = [(path / "policy.safetensors").read_bytes() for path in (run, reference)]
    assert policies[0] == policies[1], "policy.safetensors"
    states = [complete_state(path) for path in (run, reference)]
    for state in states:
        del state["wall_time"]
    assert_same_bits(*states, newest_checkpoint(run).name)
    names = [
        {str(file.relative_to(path)) for file in path.rglob("*") if "events.out" not in file.name}
        for path in (run, reference)
    ]
    assert names[0] == names[1], names[0] ^ names[1]
