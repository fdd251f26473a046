"""The shipped configurations load and hold what they promise."""

from pathlib import Path
from typing import get_args

import pytest
from metaworld import env_dict
from tiny_runs import ROOT

from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.config import Config, NetConfig, load, read_tree
from torchrl_lite.env.make import make_spec

FOLDER = ROOT / "config"
COMPARISONS = [*FOLDER.glob("compare_*")]
"""Lists of configurations, read by `test_comparison`."""
FILES = sorted(
    path
    for path in FOLDER.rglob("*")
    if path.suffix in (".json", ".yaml", ".yml") and path not in COMPARISONS
)
VARIANTS = sorted(path.stem for path in FOLDER.glob("mt[15]0_*.json"))
SHARED = ["mt3", "mt10", "mt25", "mt50", *(name for name in VARIANTS if "indep" not in name)]
ANY_TASK = 'env.tasks=["reach-v3"]'


def config_of(name: str, *overrides: str, algo: str = "sac") -> Config:
    return load(FOLDER / f"{name}.json", overrides, sections=SECTIONS, algo=algo)


def name_of(path: Path) -> str:
    return str(path.relative_to(FOLDER))


def test_both_task_sets_have_every_variant() -> None:
    kinds = {*get_args(NetConfig.model_fields["kind"].annotation)} - {"mlp"} | {"soft_module_deep"}
    assert sorted(f"mt{size}_{kind}" for size in (10, 50) for kind in kinds) == VARIANTS


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_configuration_loads_and_its_tasks_exist(path: Path) -> None:
    if "tasks" not in read_tree(path).get("env", {}):
        load(path, [ANY_TASK], sections=SECTIONS)
        return
    config = load(path, sections=SECTIONS)
    for package in config.env.imports:
        pytest.importorskip(package, reason="an extra that is not installed")
    make_spec(config.env)


def test_every_task_of_mt10_has_a_file() -> None:
    found = {path.stem: config_of(f"mt10_tasks/{path.stem}") for path in FOLDER.glob("mt10_t*/*")}
    assert found.keys() == set(env_dict.MT10_V3)
    assert all(config.env.tasks == [task] for task, config in found.items())


@pytest.mark.parametrize("number", [10, 25, 50])
def test_a_task_set_has_metaworlds_tasks_in_order(number: int) -> None:
    tasks = config_of(f"mt{number}").env.tasks
    assert tasks == list(getattr(env_dict, f"MT{number}_V3"))
    assert config_of("mt3").env.tasks == config_of("mt10").env.tasks[:3]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_has_the_environments_of_its_task_set(name: str) -> None:
    assert config_of(name).env == config_of(name.split("_")[0]).env


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_policy_is_trained_as_in_metaworld_algorithms(name: str) -> None:
    """Per task: 4,000 random frames, then 2 million, each with an update on 128 transitions."""
    config = config_of(name)
    train = config.train
    assert (config.env.num_envs, config.capacity) == (config.num_tasks, 100_000)
    assert train.pretrain_epochs * train.epoch_frames == 4_000
    assert train.num_epochs * train.epoch_frames == 2_000_000
    assert train.opt_steps == train.epoch_frames == config.env.max_episode_frames == 500
    assert config.task_batch_size == 128
    assert config.agent.temperature_weights == ("soft_module" in name)
