"""Damages each kind of file that a command reads."""

import json
import random
import struct
from pathlib import Path

import torch
from helpers import newest_checkpoint, sign, write_manifest
from resume.attempt import AGENT, NEW, RUN, TASK, TINY_RUN, TRAIN, Attempt, write_zip
from resume.mutations import as_json, mutate_bytes, mutate_state, mutate_tree
from tiny_runs import sets

ON_RUN = {
    "train": [*TRAIN, "--resume", "--until", "50", "--set", "train.num_epochs=5"],
    "play": ["--episodes", "1", "--run", str(RUN)],
    "plot": ["--metric", "return", "--out", "curves.png", str(RUN)],
    "diagnose": [str(RUN)],
}


def _any_command(rng: random.Random, path: Path) -> Attempt:
    """Any command on the run; half of them resume it."""
    command = rng.choice(["train", "train", "train", "play", "plot", "diagnose"])
    expected = (path.name, "--resume", "env.", "--metric")
    return Attempt(command, ON_RUN[command], expected, may_fail=True)


def _resume_or_transfer(rng: random.Random, path: Path) -> Attempt:
    """Resumes the run, or loads its transitions into a new one."""
    expected = (path.name, "checkpoint", TASK, "--resume", "transfer.load")
    if rng.random() < 0.7:
        return Attempt("train", ON_RUN["train"], expected, may_fail=True)
    fields = TINY_RUN | {"transfer.load": ["buffer"], "transfer.init_from": str(path.parents[1])}
    argv = [*NEW, *sets(fields), "--until", "30"]
    return Attempt("train", argv, expected, may_fail=True)


def records(rng: random.Random, folder: Path) -> Attempt:
    path = folder / RUN / rng.choice(["result.json", "versions.json", "params.json"])
    path.write_bytes(as_json(rng, mutate_tree(rng, json.loads(path.read_text()))))
    return _any_command(rng, path)


def logs(rng: random.Random, folder: Path) -> Attempt:
    path = folder / RUN / "log.csv"
    if rng.random() < 0.5:
        path.write_bytes(mutate_bytes(rng, path.read_bytes()))
    else:
        rows = [line.split(",") for line in path.read_text().splitlines()]
        changed = mutate_tree(rng, rows)
        rows = changed if isinstance(changed, list) else [changed]
        cells = [row if isinstance(row, list) else [row] for row in rows]
        text = "\n".join(",".join(str(cell) for cell in row) for row in cells)
        path.write_bytes(text.encode(errors="surrogatepass") + b"\n" * rng.randrange(2))
    return _any_command(rng, path)


def manifests(rng: random.Random, folder: Path) -> Attempt:
    path = newest_checkpoint(folder / RUN).with_suffix(".json")
    tree = json.loads(path.read_text())
    if rng.random() < 0.5:
        files = mutate_tree(rng, tree["files"])
        write_manifest(path, files)
    else:
        path.write_bytes(as_json(rng, mutate_tree(rng, tree)))
    return _resume_or_transfer(rng, path)


def states(rng: random.Random, folder: Path) -> Attempt:
    """Complete checkpoints with wrong content, most of them with a valid checksum."""
    path = newest_checkpoint(folder / RUN)
    if rng.random() < 0.2:
        path = path.with_suffix(".rows")
        path.write_bytes(mutate_bytes(rng, path.read_bytes()))
    else:
        torch.save(mutate_state(rng, torch.load(path, weights_only=True)), path)
    if rng.random() < 0.9:
        sign(path)
    return _resume_or_transfer(rng, path)


def _play_or_start(rng: random.Random, path: Path) -> Attempt:
    """Plays weights, or starts a run from them."""
    if rng.random() < 0.5:
        task = ["--task", TASK] if rng.random() < 0.5 or path.suffix == ".zip" else []
        argv = ["--episodes", "1", "--checkpoint", str(path), *task]
        return Attempt("play", argv, (path.name, "--task"), may_fail=True)
    argv = [*NEW, *sets(TINY_RUN), "--until", "30", "--init_from", str(path)]
    return Attempt("train", argv, (path.name, "--init_from", TASK), may_fail=True)


def weights(rng: random.Random, folder: Path) -> Attempt:
    path = folder / RUN / "checkpoint" / "best.pt"
    if rng.random() < 0.3:
        path.write_bytes(mutate_bytes(rng, path.read_bytes()))
    else:
        state = torch.load(path, weights_only=True)
        tree = rng.choice([state, state, state["networks"]])
        torch.save(mutate_state(rng, tree), path)
    return _play_or_start(rng, path)


def agents(rng: random.Random, folder: Path) -> Attempt:
    path = folder / "agent.zip"
    if rng.random() < 0.3:
        path.write_bytes(mutate_bytes(rng, path.read_bytes()))
    else:
        data = {"policy_kwargs": {"activation_fn": "<class 'ReLU'>"}, "num_timesteps": 100}
        write_zip(path, mutate_tree(rng, data), mutate_state(rng, AGENT))
    return _play_or_start(rng, path)


def policies(rng: random.Random, folder: Path) -> Attempt:
    """Policy files: any bytes, the safetensors header, or our metadata in it."""
    path = folder / RUN / "policy.safetensors"
    whole = path.read_bytes()
    size = struct.unpack("<Q", whole[:8])[0]
    tree, body = json.loads(whole[8 : 8 + size]), whole[8 + size :]
    kind = rng.randrange(4)
    if kind == 0:
        path.write_bytes(mutate_bytes(rng, whole))
        return _play_or_start(rng, path)
    if kind == 1:
        tree = mutate_tree(rng, tree)
    else:
        metadata = mutate_tree(rng, json.loads(tree["__metadata__"]["policy"]))
        tree["__metadata__"]["policy"] = as_json(rng, metadata).decode(errors="replace")
    header = json.dumps(tree).encode()
    claimed = len(header) if rng.random() < 0.9 else rng.choice([0, 1, 2**40, 2**64 - 1, size])
    path.write_bytes(struct.pack("<Q", claimed) + header + body)
    return _play_or_start(rng, path)
