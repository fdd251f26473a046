"""Sweeps on a Ray cluster of two nodes: only interrupted runs continue after a loss.

Needs ``pip install -e .[ray]``; skipped without it.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import SHARED_MEMORY, is_free, is_midway, session_of, still_alive, wait_for
from tiny_runs import ROOT, TINY, sets

from torchrl_lite.analysis.runs import Run
from torchrl_lite.command.launch import main
from torchrl_lite.sweep.command import main as search_main
from torchrl_lite.sweep.report import write

pytestmark = [pytest.mark.ray, pytest.mark.timeout(540)]
pytest.importorskip("ray.cluster_utils", reason="the extra [ray] is not installed")

CONFIG = ROOT / "config" / "mujoco" / "pendulum.json"
EPOCHS, SEEDS = 72, (1, 2, 3)
SMALL = TINY | {
    "env.max_episode_frames": 15,
    "train.num_epochs": EPOCHS - 1,
    "train.epoch_frames": 20,
    "train.opt_steps": 5,
    "replay_buffer.size": 2000,
    "train.eval_interval": 8,
    "train.save_interval": 1,
}
SETS = sets({key: value for key, value in SMALL.items() if not key.startswith("system.")})


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        head = {"num_cpus": 1, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.add_node(num_cpus=1)
        yield cluster
        cluster.shutdown()


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results table of the same runs, trained one after the other without Ray."""
    folder = tmp_path_factory.mktemp("single")
    flags = ["--config", str(CONFIG), "--log_dir", str(folder), "--device", "cpu", *SETS]
    for seed in SEEDS:
        assert main("sac", [*flags, "--seed", str(seed), "--set", "system.threads=1"]) == 0
    write(folder, [Run(folder / "pendulum" / "Pendulum-v1" / str(seed)) for seed in SEEDS])
    return folder


def start(cluster: Any, log_dir: Path, *flags: str) -> subprocess.Popen[str]:
    argv = ["--starter", "st_sac", "--config", str(CONFIG), "--log_dir", str(log_dir), *SETS]
    argv += ["--address", cluster.address, *flags]
    return subprocess.Popen(
        [sys.executable, str(ROOT / "starter" / "sweep.py"), *argv],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ignore_ctrl_c() -> None:
    """As a shell does for commands in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def folders(log_dir: Path) -> list[Path]:
    return [log_dir / "pendulum" / "Pendulum-v1" / str(seed) for seed in SEEDS]


def in_the_middle(folder: Path, node: str | None = None) -> bool:
    """Whether the run is unfinished and has a checkpoint; on ``node``, if given."""
    try:
        mark = json.loads((folder / "sweep.json").read_text())
    except FileNotFoundError:
        return False
    return is_midway(folder) and node in (None, mark["node"])


def assert_each_ran_once(log_dir: Path, single: Path) -> None:
    for name in ("results.md", "results.csv"):
        assert (log_dir / "sweep" / name).read_bytes() == (single / name).read_bytes()
    assert (log_dir / "sweep" / "curves.png").exists()
    for folder in folders(log_dir):
        epochs = re.findall(r"^(\d+),", (folder / "log.csv").read_text(), re.MULTILINE)
        assert epochs == [str(number + 1) for number in range(EPOCHS)]
        assert not (folder / "sweep.json").exists()


def test_a_sweep_survives_a_killed_driver(cluster: Any, single: Path, tmp_path: Path) -> None:
    driver = start(cluster, tmp_path, "--seeds", "1-3")
    middle = wait_for(lambda: [f for f in folders(tmp_path) if in_the_middle(f)])[0]
    driver.kill()
    driver.communicate()
    wait_for(lambda: all(is_free(folder) for folder in folders(tmp_path) if folder.exists()))
    assert not (middle / "result.json").exists()

    again = start(cluster, tmp_path, "--seeds", "1-3")
    out, err = again.communicate()
    assert again.returncode == 0, err
    assert "resuming from frame" in (middle / "console.log").read_text()
    assert_each_ran_once(tmp_path, single)

    before = [(folder / "console.log").read_bytes() for folder in folders(tmp_path)]
    third = start(cluster, tmp_path, "--seeds", "1-3")
    out, err = third.communicate()
    assert (third.returncode, err) == (0, "")
    assert out.startswith("3 runs, 3 already finished\n")
    assert [(folder / "console.log").read_bytes() for folder in folders(tmp_path)] == before


def test_runs_of_a_dead_node_are_moved(cluster: Any, single: Path, tmp_path: Path) -> None:
    node = cluster.list_all_nodes()[-1]
    driver = start(cluster, tmp_path, "--seeds", "1-3")

    def on_node() -> list[Path]:
        return [folder for folder in folders(tmp_path) if in_the_middle(folder, node.node_id)]

    (moved,) = wait_for(on_node)
    cluster.remove_node(node, allow_graceful=False)
    _, err = driver.communicate()
    assert (driver.returncode, err) == (0, "")
    assert "resuming from frame" in (moved / "console.log").read_text()
    assert_each_ran_once(tmp_path, single)


def test_a_search_survives_the_loss_of_its_driver_and_a_node(cluster: Any, tmp_path: Path) -> None:
    """Each trial finishes once, with the same table as without Ray."""
    pytest.importorskip("optuna", reason="the extra [search] is not installed")
    space = tmp_path / "space.json"
    space.write_text('{"sac.tau": [0.01, 0.02, 0.05]}')
    flags = ["--search", str(space), "--sampler", "grid", "--seeds", "1"]
    sweep = ["--starter", "st_sac", "--config", str(CONFIG), *SETS]
    assert search_main([*flags, *sweep, "--out", str(tmp_path / "single"), "--jobs", "1"]) == 0

    flags += ["--out", str(tmp_path / "ray")]
    trials = [tmp_path / "ray" / f"trial_{n:04d}" / "Pendulum-v1" / "1" for n in range(3)]
    driver = start(cluster, tmp_path, *flags)
    middle = wait_for(lambda: [trial for trial in trials if in_the_middle(trial)])[0]
    driver.kill()
    driver.communicate()
    wait_for(lambda: all(is_free(trial) for trial in trials if trial.exists()))
    assert not (middle / "result.json").exists()

    node = cluster.add_node(num_cpus=1)
    driver = start(cluster, tmp_path, *flags)
    (moved,) = wait_for(lambda: [t for t in trials if in_the_middle(t, node.node_id)])
    cluster.remove_node(node, allow_graceful=False)
    _, err = driver.communicate()
    assert (driver.returncode, err) == (0, "")
    for trial in {middle, moved}:
        assert "resuming from frame" in (trial / "console.log").read_text()
    table = (tmp_path / "ray" / "trials.csv").read_bytes()
    assert table == (tmp_path / "single" / "trials.csv").read_bytes()
    assert table.count(b"done") == 3


def test_a_stopped_background_sweep_lets_its_runs_finish_their_epoch(tmp_path: Path) -> None:
    """It starts its own Ray and leaves nothing of it behind."""
    shared_before = set(SHARED_MEMORY.iterdir())
    argv = ["--starter", "st_sac", "--config", str(CONFIG), "--log_dir", str(tmp_path), *SETS]
    argv += ["--set", "train.num_epochs=100000", "--set", "train.save_interval=10000"]
    driver = subprocess.Popen(
        [sys.executable, str(ROOT / "starter" / "sweep.py"), *argv],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=ignore_ctrl_c,
    )  # fmt: skip
    folder = folders(tmp_path)[0]
    wait_for(lambda: (folder / "log.csv").exists() and "\n5," in (folder / "log.csv").read_text())
    members = session_of(driver.pid)
    assert len(members) > 4
    os.killpg(driver.pid, signal.SIGTERM)  # as a scheduler does, to Ray's processes too
    _, err = driver.communicate()
    survivors = still_alive(members | session_of(driver.pid), 30)
    for pid in survivors:
        os.kill(pid, signal.SIGKILL)
    assert (driver.returncode, err) == (143, "stopped by SIGTERM; the same command continues\n")
    console = (folder / "console.log").read_text()
    assert console.endswith("checkpoint saved; continue with --resume\n")
    assert survivors == set()
    assert set(SHARED_MEMORY.iterdir()) == shared_before
