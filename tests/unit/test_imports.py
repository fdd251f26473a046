"""Which modules may import which, read from syntax trees; and what importing needs."""

import ast
import os
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "torchrl_lite"

# From bottom to top: a module imports only from its own layer and those below.
LAYERS: tuple[tuple[str, ...], ...] = (
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
LAYER_OF = {part: number for number, layer in enumerate(LAYERS) for part in layer}


def module_of(path: Path) -> str:
    """``algo.sac`` for a file of the package, ``starter`` for any of the starters."""
    if path.is_relative_to(ROOT / "starter"):
        return "starter"
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """The folder of a module, or the module itself if it is in none."""
    return module.split(".")[0]


def exists(module: str) -> bool:
    path = PACKAGE.joinpath(*module.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Modules of the package that a file imports, anywhere in it, without ``torchrl_lite.``."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    found = set()
    for name in names:
        first, _, rest = name.partition(".")
        while rest and not exists(rest):  # a name within a module
            rest = rest.rpartition(".")[0]
        if first == "torchrl_lite" and rest:
            found.add(rest)
    return frozenset(found)


MODULES = sorted({*PACKAGE.rglob("*.py"), *ROOT.glob("starter/*.py")} - {PACKAGE / "__init__.py"})


def test_every_module_has_a_layer_and_imports_nothing_above_it() -> None:
    for path in MODULES:
        layer = LAYER_OF[part_of(module_of(path))]
        assert not {other for other in imports_of(path) if LAYER_OF[part_of(other)] > layer}, path


def test_packages_and_files_have_no_import_cycles() -> None:
    parts: dict[str, set[str]] = {}
    files: dict[str, set[str]] = {}
    for path in MODULES:
        module, imported = module_of(path), imports_of(path)
        part = part_of(module)
        parts.setdefault(part, set()).update({part_of(other) for other in imported} - {part})
        if part != "starter":  # `from package import name` within the package is no cycle
            files[module] = set(imported) - {module}
    for graph in (parts, files):
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


# --- what importing needs ------------------------------------------------------------------------

PROBE = """
import socket, sys

def refuse(*_):
    raise OSError("no network here")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
socket.create_connection = refuse

import torchrl_lite
print(sorted({"torch", "gymnasium", "pydantic"} & sys.modules.keys()))

import torchrl_lite.command.launch
import torch

heavy = {"wandb", "matplotlib", "ray", "stable_baselines3", "torch._dynamo"}
print(sorted(heavy & sys.modules.keys()))
print(torch.cuda.is_initialized())
"""


def test_the_launcher_needs_no_display_gpu_network_optional_package_or_compiler(
    tmp_path: Path,
) -> None:
    """Imported by a process with none of them and an empty home directory."""
    hidden = {"DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "MUJOCO_GL", "PYOPENGL_PLATFORM"}
    env = {key: value for key, value in os.environ.items() if key not in hidden}
    env |= {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=env, cwd=tmp_path, capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[]", "[]", "False"]
