"""Who may import whom, read from the syntax trees; and what an import needs."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "torchrl_lite"

# From the bottom to the top: a module imports from its own room, its own floor and those below.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("types", "errors"),
    ("config",),
    ("network", "env", "checkpoint", "reporting"),
    ("algo", "collector"),
    ("policies", "transfer", "analysis", "demos"),
    ("training",),
    ("command",),
    ("sweep", "bench"),
    ("starter", "cli"),
)


def module_of(path: Path) -> str:
    """``algo.sac`` for a file of the package, ``starter`` for any of the starters."""
    if path.is_relative_to(ROOT / "starter"):
        return "starter"
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The folder of a module, or the module itself where it lies beside the folders."""
    room = module.split(".")[0]
    if not any(room in floor for floor in FLOORS):
        raise KeyError(f"{room or 'torchrl_lite'} has no place in the plan")
    return room


def floor_of(room: str) -> int:
    return next(index for index, floor in enumerate(FLOORS) if room in floor)


def exists(module: str) -> bool:
    path = PACKAGE.joinpath(*module.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def imports_of(path: Path, source: str) -> Iterator[str]:
    """Modules of the package that a file imports, anywhere in it, without ``torchrl_lite.``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative: from the package that the file is in
                package = path.relative_to(ROOT).parts[: -node.level]
                base = ".".join([*package, base] if base else package)
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            first, _, rest = name.partition(".")
            if first != "torchrl_lite":
                continue
            while rest and not exists(rest):  # a name within a module
                rest = rest.rpartition(".")[0]
            if rest:
                yield rest


FILES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "starter").glob("*.py")])
MODULES = [path for path in FILES if path != PACKAGE / "__init__.py"]


def rooms_imported_by(path: Path) -> set[str]:
    rooms = {room_of(module) for module in imports_of(path, path.read_text(encoding="utf-8"))}
    return rooms - {room_of(module_of(path))}


def test_a_module_has_its_place_and_imports_nothing_above_its_floor() -> None:
    for path in MODULES:
        own = floor_of(room_of(module_of(path)))
        above = {room for room in rooms_imported_by(path) if floor_of(room) > own}
        assert not above, path


def test_no_two_rooms_and_no_two_files_import_each_other() -> None:
    rooms: dict[str, set[str]] = {}
    for path in MODULES:
        rooms.setdefault(room_of(module_of(path)), set()).update(rooms_imported_by(path))
    files = {
        module_of(path): set(imports_of(path, path.read_text(encoding="utf-8")))
        for path in MODULES
        if module_of(path) != "starter"
    }
    for package in files:  # `from package import name` inside it is not an import of itself
        files[package].discard(package)

    for graph in (rooms, files):
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            pytest.fail(f"a cycle of imports: {' -> '.join(error.args[1])}")


# --- what an import needs ------------------------------------------------------------------------

PROBE = """
import socket, sys

def refuse(*_):
    raise OSError("no network here")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
socket.create_connection = refuse

import torchrl_lite.command.launch
import torch

heavy = {"wandb", "matplotlib", "ray", "stable_baselines3", "torch._dynamo"}
print(sorted(heavy & sys.modules.keys()))
print(torch.cuda.is_initialized())
"""


def test_the_launcher_needs_no_display_gpu_network_optional_package_or_compiler(
    tmp_path: Path,
) -> None:
    """Imported by a process with none of them, and no home."""
    hidden = {"DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "MUJOCO_GL", "PYOPENGL_PLATFORM"}
    env = {key: value for key, value in os.environ.items() if key not in hidden}
    env |= {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        env=env | {"HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[]", "False"]
