"""The configurations of task sets: whose tasks, and whose published values."""

from pathlib import Path
from typing import Any

import pytest
from metaworld import env_dict

from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.config import Config, NetConfig, load
from torchrl_lite.config.multi_task_networks import CareConfig
from torchrl_lite.errors import UserError

FOLDER = Path(__file__).parents[2] / "config"
MLPS = ["mt3", "mt10", "mt25", "mt50"]
HEADS = ["mt10_multihead", "mt50_multihead"]
SOFT = ["mt10_soft_module", "mt50_soft_module"]
DEEP = ["mt10_soft_module_deep", "mt50_soft_module_deep"]
SHARED = [f"{mt}_{kind}" for mt in ("mt10", "mt50") for kind in ("paco", "moore", "film", "care")]
INDEPENDENT = ["mt10_independent", "mt50_independent"]


def config_of(name: str, *overrides: str) -> Config:
    return load(FOLDER / f"{name}.json", overrides, sections=SECTIONS, algo="sac")


@pytest.mark.parametrize("number", [10, 25, 50])
def test_a_set_has_the_tasks_of_meta_world_in_its_order(number: int) -> None:
    assert config_of(f"mt{number}").env.tasks == list(getattr(env_dict, f"MT{number}_V3"))


def test_the_smallest_set_are_the_first_three_of_mt10() -> None:
    assert config_of("mt3").env.tasks == config_of("mt10").env.tasks[:3]


@pytest.mark.parametrize("name", [*HEADS, *SOFT, *DEEP, *SHARED, *INDEPENDENT])
def test_a_variant_trains_on_the_tasks_of_its_set(name: str) -> None:
    assert config_of(name).env == config_of(name.split("_")[0]).env


@pytest.mark.parametrize("name", [*MLPS, *HEADS, *SOFT, *DEEP, *SHARED])
def test_one_policy_is_trained_as_metaworld_algorithms_does(name: str) -> None:
    """Per task: 4,000 random frames, then 2 million with an update of 128 transitions at each."""
    config = config_of(name)
    tasks, train, sac = config.num_tasks, config.train, config.agent
    assert config.env.num_envs == tasks
    assert config.capacity == 100_000
    assert train.batch_size == 128 * tasks
    assert train.pretrain_epochs * train.epoch_frames == 4_000
    assert train.num_epochs * train.epoch_frames == 2_000_000
    assert train.opt_steps == train.epoch_frames == config.env.max_episode_frames == 500
    assert train.final_eval_episodes == config.env.num_goals == 50
    assert (config.env.reward_version, config.env.reward_normalization) == ("v2", "auto")
    assert (sac.plr, sac.qlr, sac.adam_eps, sac.grad_clip) == (3e-4, 3e-4, 1e-5, 1.0)
    assert (sac.discount, sac.tau, sac.target_update_interval) == (0.99, 0.005, 1)
    assert (sac.alpha, sac.target_entropy, sac.policy) == ("auto", "auto", "gaussian")
    assert (sac.log_std_min, sac.log_std_max, sac.reward_scale) == (-20, 2, 1)
    assert sac.temperature_weights == (name in SOFT + DEEP)
    assert config.net.init == "metaworld_algorithms"


@pytest.mark.parametrize("name", [*MLPS, *HEADS])
def test_a_shared_trunk_has_three_layers_of_400_and_a_one_hot(name: str) -> None:
    kind = "multihead" if name in HEADS else "mlp"
    assert config_of(name).net == NetConfig(kind=kind, hidden_shapes=[400] * 3, task_input="onehot")


@pytest.mark.parametrize(
    ("names", "layers", "modules", "hidden"), [(SOFT, 2, 2, 256), (DEEP, 4, 4, 128)]
)
def test_soft_modules_have_the_published_sizes(
    names: list[str], layers: int, modules: int, hidden: int
) -> None:
    for name in names:
        net = config_of(name).net
        assert (net.kind, net.hidden_shapes) == ("soft_module", [400, 400])
        sizes = net.soft_module
        assert (sizes.num_layers, sizes.num_modules, sizes.module_hidden) == (
            layers,
            modules,
            hidden,
        )
        assert (sizes.num_gating_layers, sizes.gating_hidden) == (2, 256)


@pytest.mark.parametrize(
    ("mt", "sets", "experts", "encoders"), [("mt10", 5, 4, 6), ("mt50", 20, 6, 10)]
)
def test_networks_that_mix_have_the_published_sizes(
    mt: str, sets: int, experts: int, encoders: int
) -> None:
    for kind in ("paco", "moore", "film", "care"):
        net = config_of(f"{mt}_{kind}").net
        assert (net.kind, net.hidden_shapes, net.norm) == (kind, [400] * 3, "none")
    assert config_of(f"{mt}_paco").net.paco.num_sets == sets
    assert config_of(f"{mt}_moore").net.moore.num_experts == experts
    care = config_of(f"{mt}_care").net.care
    assert care == CareConfig(
        num_encoders=encoders,
        encoder_layers=2,
        encoder_hidden=50,
        embedding_dim=50,
        temperature=1.0,
    )


@pytest.mark.parametrize("name", INDEPENDENT)
def test_independent_agents_are_trained_as_one_task_is(name: str) -> None:
    config, one = config_of(name), config_of("base_st", 'env.tasks=["reach-v3"]')
    assert config.agent == one.agent
    assert config.net == one.net.model_copy(update={"kind": "independent"})
    for key in ("num_epochs", "pretrain_epochs", "epoch_frames", "opt_steps"):
        assert getattr(config.train, key) == getattr(one.train, key), key
    assert config.train.batch_size == one.train.batch_size * config.num_tasks
    assert config.env.num_envs == config.num_tasks


@pytest.mark.parametrize("suite", ["gymnasium", "metaworld"])
def test_v1_rewards_are_meta_worlds_alone(suite: str) -> None:
    """Elsewhere they would do nothing but turn the running scale on."""
    overrides: list[Any] = [f"env.suite={suite}", "env.reward_version=v1"]
    if suite == "metaworld":
        assert config_of("mt3", *overrides).env.reward_version == "v1"
        return
    with pytest.raises(UserError, match=r'env\.reward_version: "v1" is for the suite "metaw'):
        config_of("mt3", *overrides)
