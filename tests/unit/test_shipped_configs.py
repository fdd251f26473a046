"""The configurations that come with the project: they load, and hold what they claim."""

from pathlib import Path
from typing import Any

import pytest
from metaworld import env_dict
from tiny_runs import ROOT

from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.config import Config, NetConfig, load, read_tree
from torchrl_lite.env.make import make_spec

FOLDER = ROOT / "config"
COMPARISONS = [*FOLDER.glob("compare_*")]
"""They name configurations; `test_comparison` reads them."""
FILES = sorted(
    path
    for path in FOLDER.rglob("*")
    if path.suffix in (".json", ".yaml", ".yml") and path not in COMPARISONS
)
MLPS = ["mt3", "mt10", "mt25", "mt50"]
HEADS = ["mt10_multihead", "mt50_multihead"]
SOFT = ["mt10_soft_module", "mt50_soft_module"]
DEEP = ["mt10_soft_module_deep", "mt50_soft_module_deep"]
MIXED = [f"{mt}_{kind}" for mt in ("mt10", "mt50") for kind in ("paco", "moore", "film", "care")]
INDEPENDENT = ["mt10_independent", "mt50_independent"]
ANY_TASK = 'env.tasks=["reach-v3"]'


def config_of(name: str, *overrides: str, algo: str = "sac") -> Config:
    return load(FOLDER / f"{name}.json", overrides, sections=SECTIONS, algo=algo)


def name_of(path: Path) -> str:
    return str(path.relative_to(FOLDER))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_loads_and_its_tasks_are_there(path: Path) -> None:
    if "tasks" not in read_tree(path).get("env", {}):
        load(path, [ANY_TASK], sections=SECTIONS)
        return
    config = load(path, sections=SECTIONS)
    for package in config.env.imports:
        pytest.importorskip(package, reason="an extra that is not installed")
    make_spec(config.env)


def test_every_task_of_mt10_has_its_file() -> None:
    found = {path.stem: config_of(f"mt10_tasks/{path.stem}") for path in FOLDER.glob("mt10_t*/*")}
    assert found.keys() == set(env_dict.MT10_V3)
    assert all(config.env.tasks == [task] for task, config in found.items())


@pytest.mark.parametrize("number", [10, 25, 50])
def test_a_set_has_the_tasks_of_meta_world_in_its_order(number: int) -> None:
    tasks = config_of(f"mt{number}").env.tasks
    assert tasks == list(getattr(env_dict, f"MT{number}_V3"))
    assert config_of("mt3").env.tasks == config_of("mt10").env.tasks[:3]


@pytest.mark.parametrize("name", [*HEADS, *SOFT, *DEEP, *MIXED, *INDEPENDENT])
def test_a_variant_trains_on_the_tasks_of_its_set(name: str) -> None:
    assert config_of(name).env == config_of(name.split("_")[0]).env


# --- published recipes ---------------------------------------------------------------------------


def assert_fields(config: Config, expected: dict[str, Any]) -> None:
    tree = config.model_dump()
    for key, value in expected.items():
        section, field = key.split(".")
        assert tree[section][field] == value, key


ADAM = {
    "sac.plr": 3e-4,
    "sac.qlr": 3e-4,
    "sac.tau": 5e-3,
    "sac.discount": 0.99,
    "sac.alpha": "auto",
}


def test_one_task_trains_as_garage_does() -> None:
    """A million frames, the first ten thousand random, with an update at each."""
    config = config_of("base_st", ANY_TASK)
    frames = config.frames_per_epoch
    assert (config.total_frames, config.train.pretrain_epochs * frames) == (1_000_000, 10_000)
    assert config.train.opt_steps == frames == config.env.max_episode_frames == 500
    # garage's own initialisation does not learn button-press-topdown
    own = {"net.init": "metaworld_algorithms", "net.hidden_shapes": [256, 256]}
    assert_fields(config, ADAM | own | {"train.batch_size": 256, "sac.adam_eps": 1e-8})


@pytest.mark.parametrize("name", [*MLPS, *HEADS, *SOFT, *DEEP, *MIXED])
def test_one_policy_is_trained_as_metaworld_algorithms_does(name: str) -> None:
    """Per task: 4,000 random frames, then 2 million with an update of 128 transitions at each."""
    config = config_of(name)
    tasks, train = config.num_tasks, config.train
    assert (config.env.num_envs, config.capacity) == (tasks, 100_000)
    assert train.pretrain_epochs * train.epoch_frames == 4_000
    assert train.num_epochs * train.epoch_frames == 2_000_000
    assert train.opt_steps == train.epoch_frames == config.env.max_episode_frames == 500
    own = {"train.batch_size": 128 * tasks, "sac.adam_eps": 1e-5, "sac.grad_clip": 1.0}
    weights = {"sac.temperature_weights": name in SOFT + DEEP}
    assert_fields(config, ADAM | own | weights | {"net.init": "metaworld_algorithms"})


def soft_module(**sizes: int) -> dict[str, Any]:
    own = sizes | {"num_gating_layers": 2, "gating_hidden": 256}
    return {"kind": "soft_module", "hidden_shapes": [400, 400], "soft_module": own}


def mixed(kind: str, **sizes: int) -> dict[str, Any]:
    return {"kind": kind, "hidden_shapes": [400] * 3, kind: sizes}


@pytest.mark.parametrize(
    ("names", "net"),
    [
        (MLPS, {"kind": "mlp", "hidden_shapes": [400] * 3}),
        (HEADS, {"kind": "multihead", "hidden_shapes": [400] * 3}),
        (SOFT, soft_module(num_layers=2, num_modules=2, module_hidden=256)),
        (DEEP, soft_module(num_layers=4, num_modules=4, module_hidden=128)),
        (["mt10_film", "mt50_film"], {"kind": "film", "hidden_shapes": [400] * 3}),
        (["mt10_paco"], mixed("paco", num_sets=5)),
        (["mt50_paco"], mixed("paco", num_sets=20)),
        (["mt10_moore"], mixed("moore", num_experts=4)),
        (["mt50_moore"], mixed("moore", num_experts=6)),
        (["mt10_care"], mixed("care", num_encoders=6, encoder_hidden=50, embedding_dim=50)),
        (["mt50_care"], mixed("care", num_encoders=10, encoder_hidden=50, embedding_dim=50)),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_networks_have_the_published_sizes(names: list[str], net: dict[str, Any]) -> None:
    for name in names:
        assert config_of(name).net == NetConfig(**net)


@pytest.mark.parametrize("name", INDEPENDENT)
def test_independent_agents_are_trained_as_one_task_is(name: str) -> None:
    config, one = config_of(name), config_of("base_st", ANY_TASK)
    assert config.agent == one.agent
    assert config.net == one.net.model_copy(update={"kind": "independent"})
    for key in ("num_epochs", "pretrain_epochs", "epoch_frames", "opt_steps"):
        assert getattr(config.train, key) == getattr(one.train, key), key
    assert config.train.batch_size == one.train.batch_size * config.num_tasks
    assert config.env.num_envs == config.num_tasks


MUJOCO = {
    "halfcheetah": ("HalfCheetah-v5", 1_000_000),
    "walker2d": ("Walker2d-v5", 1_000_000),
    "humanoid": ("Humanoid-v5", 2_000_000),
    "inverted_double_pendulum": ("InvertedDoublePendulum-v5", 100_000),
}


@pytest.mark.parametrize("name", MUJOCO)
@pytest.mark.parametrize("algo", ["sac", "td3", "ddpg"])
def test_mujoco_trains_as_published(name: str, algo: str) -> None:
    config = config_of(f"mujoco/{name}", algo=algo)

    assert ((config.env.tasks[0]), config.total_frames) == MUJOCO[name]
    assert config.train.pretrain_epochs * config.frames_per_epoch == 10_000
    assert config.train.opt_steps == config.frames_per_epoch
    assert (config.train.batch_size, config.replay_buffer.size) == (256, 1_000_000)
    assert config.net.hidden_shapes == [256, 256]
    assert config.env.max_episode_frames is None  # the task's own
    agent = config.agent
    assert (agent.plr, agent.qlr, agent.tau, agent.discount) == (3e-4, 3e-4, 0.005, 0.99)
    assert algo == "sac" or agent.noise_std == 0.1
    if algo == "td3":
        assert (agent.policy_delay, agent.target_noise, agent.target_noise_clip) == (2, 0.2, 0.5)


EXPERIMENTS = {
    "fixed": {"alpha": 0.2},
    "auto": {},
    "deterministic": {"policy": "deterministic", "tau": 1, "target_update_interval": 1000},
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_changes_what_it_is_about_and_nothing_else(name: str) -> None:
    base = config_of("mujoco/halfcheetah").model_dump()
    other = config_of(f"mujoco/halfcheetah_{name}").model_dump()
    changed = {k: v for k, v in other.pop("sac").items() if v != base["sac"][k]}
    base.pop("sac")
    assert changed == EXPERIMENTS[name]
    assert other == base
