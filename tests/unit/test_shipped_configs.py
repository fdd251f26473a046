"""The configurations that come with the project: they load, and hold what they claim."""

from pathlib import Path
from typing import Any

import pytest

from torchrl_lite.algo.registry import ALGORITHMS
from torchrl_lite.config import Config, load, read_tree
from torchrl_lite.env.make import make_spec

FOLDER = Path(__file__).parents[2] / "config"
FILES = sorted(path for path in FOLDER.rglob("*") if path.suffix in (".json", ".yaml", ".yml"))
WITH_TASKS = [path for path in FILES if "tasks" in read_tree(path).get("env", {})]
SECTIONS = {name: section for name, (_, section) in ALGORITHMS.items()}
MT10 = (
    "reach-v3",
    "push-v3",
    "pick-place-v3",
    "door-open-v3",
    "drawer-open-v3",
    "drawer-close-v3",
    "button-press-topdown-v3",
    "peg-insert-side-v3",
    "window-open-v3",
    "window-close-v3",
)


def name_of(path: Path) -> str:
    return str(path.relative_to(FOLDER))


def value(config: Config, key: str) -> Any:
    tree: Any = config.model_dump()
    for part in key.split("."):
        tree = tree[part]
    return tree


@pytest.fixture(scope="module")
def base_st() -> Config:
    return load(FOLDER / "base_st.json", ['env.tasks=["reach-v3"]'], sections=SECTIONS)


@pytest.fixture(scope="module")
def garage_mt1() -> Config:
    return load(FOLDER / "garage_mt1_pick_place.json", sections=SECTIONS)


@pytest.mark.parametrize("path", WITH_TASKS, ids=name_of)
def test_a_file_that_names_tasks_loads(path: Path) -> None:
    config = load(path, sections=SECTIONS)

    for package in config.env.imports:
        pytest.importorskip(package, reason="an extra that is not installed")
    make_spec(config.env)  # its tasks exist


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_names_only_what_there_is(path: Path) -> None:
    overrides = [] if path in WITH_TASKS else ['env.tasks=["reach-v3"]']

    load(path, overrides, sections=SECTIONS)


def test_every_task_of_mt10_has_its_file() -> None:
    assert {path.stem for path in (FOLDER / "mt10_tasks").iterdir()} == set(MT10)


@pytest.mark.parametrize("task", MT10)
def test_a_task_file_names_its_own_task(task: str) -> None:
    config = load(FOLDER / "mt10_tasks" / f"{task}.json", sections=SECTIONS)

    assert config.env.tasks == [task]
    assert config.env.set_name == task


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("net.kind", "mlp"),
        ("net.hidden_shapes", [256, 256]),
        ("net.init", "metaworld_algorithms"),  # garage's own does not learn button-press-topdown
        ("replay_buffer.size", 1_000_000),
        ("train.epoch_frames", 500),
        ("train.opt_steps", 500),
        ("train.batch_size", 256),
        ("train.eval_interval", 40),
        ("train.eval_episodes", 10),
        ("train.final_eval_episodes", 50),
        ("env.suite", "metaworld"),
        ("env.max_episode_frames", 500),
        ("env.reward_version", "v2"),
        ("env.num_goals", 50),
        ("sac.discount", 0.99),
        ("sac.tau", 5e-3),
        ("sac.target_update_interval", 1),
        ("sac.plr", 3e-4),
        ("sac.qlr", 3e-4),
        ("sac.adam_eps", 1e-8),
        ("sac.alpha", "auto"),
        ("sac.target_entropy", "auto"),
        ("sac.policy", "gaussian"),
        ("sac.log_std_min", -20),
        ("sac.log_std_max", 2),
        ("sac.grad_clip", None),
        ("sac.reward_scale", 1),
    ],
)
def test_one_task_trains_as_garage_does(base_st: Config, key: str, expected: Any) -> None:
    assert value(base_st, key) == expected


def test_one_task_trains_for_a_million_frames(base_st: Config) -> None:
    assert base_st.total_epochs * base_st.frames_per_epoch == 1_000_000


def test_one_task_begins_with_ten_thousand_random_frames(base_st: Config) -> None:
    assert base_st.train.pretrain_epochs * base_st.frames_per_epoch == 10_000


def test_one_task_is_updated_once_a_frame(base_st: Config) -> None:
    assert base_st.train.opt_steps == base_st.frames_per_epoch


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("env.tasks", ["pick-place-v3"]),
        ("net.init", "garage"),
        ("env.num_envs", 50),
        ("env.num_goals", 50),
        ("net.hidden_shapes", [400, 400, 400]),
        ("replay_buffer.size", 1_000_000),
        ("train.opt_steps", 150),
        ("train.batch_size", 1280),
        ("sac.discount", 0.99),
        ("sac.tau", 5e-3),
        ("sac.plr", 3e-4),
        ("sac.qlr", 3e-4),
        ("sac.alpha", "auto"),
        ("sac.log_std_min", -20),
        ("sac.log_std_max", 2),
        ("sac.grad_clip", None),
    ],
)
def test_pick_place_trains_as_in_garages_example(
    garage_mt1: Config, key: str, expected: Any
) -> None:
    assert value(garage_mt1, key) == expected


def test_pick_place_collects_an_episode_of_each_environment_in_an_epoch(garage_mt1: Config) -> None:
    assert garage_mt1.train.epoch_frames == garage_mt1.env.max_episode_frames == 500


def test_pick_place_trains_for_garages_ten_million_frames(garage_mt1: Config) -> None:
    assert garage_mt1.total_epochs * garage_mt1.frames_per_epoch == 10_000_000


# --- TD3, DDPG and MuJoCo -------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["base_st.json", "base_mt.json", "mujoco/base.json"])
@pytest.mark.parametrize("algo", ["td3", "ddpg"])
def test_td3_and_ddpg_have_the_published_values(file: str, algo: str) -> None:
    config = load(FOLDER / file, ['env.tasks=["any"]'], sections=SECTIONS, algo=algo)

    agent = config.agent
    assert (agent.plr, agent.qlr, agent.tau, agent.discount) == (3e-4, 3e-4, 0.005, 0.99)
    assert agent.noise_std == 0.1
    if algo == "td3":
        assert (agent.policy_delay, agent.target_noise, agent.target_noise_clip) == (2, 0.2, 0.5)


MUJOCO = {
    "halfcheetah": ("HalfCheetah-v5", 1_000_000),
    "walker2d": ("Walker2d-v5", 1_000_000),
    "humanoid": ("Humanoid-v5", 2_000_000),
    "inverted_double_pendulum": ("InvertedDoublePendulum-v5", 100_000),
}


@pytest.mark.parametrize("name", MUJOCO)
@pytest.mark.parametrize("algo", ["sac", "td3", "ddpg"])
def test_mujoco_trains_as_published(name: str, algo: str) -> None:
    config = load(FOLDER / "mujoco" / f"{name}.json", sections=SECTIONS, algo=algo)

    assert ((config.env.tasks[0]), config.total_frames) == MUJOCO[name]
    assert config.train.pretrain_epochs * config.frames_per_epoch == 10_000
    assert config.train.opt_steps == config.frames_per_epoch
    assert config.train.batch_size == 256
    assert config.replay_buffer.size == 1_000_000
    assert config.net.hidden_shapes == [256, 256]
    assert config.env.max_episode_frames is None  # the task's own


EXPERIMENTS = {
    "fixed": {"alpha": 0.2},
    "auto": {},
    "deterministic": {"policy": "deterministic", "tau": 1, "target_update_interval": 1000},
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_changes_what_it_is_about_and_nothing_else(name: str) -> None:
    base = load(FOLDER / "mujoco" / "halfcheetah.json", sections=SECTIONS).model_dump()
    other = load(FOLDER / "mujoco" / f"halfcheetah_{name}.json", sections=SECTIONS).model_dump()

    changed = {k: v for k, v in other.pop("sac").items() if v != base["sac"][k]}
    base.pop("sac")
    assert changed == EXPERIMENTS[name]
    assert other == base
