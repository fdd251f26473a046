"""Configurations: strict, checked as a whole, and every mistake told in one line."""

import json
import math
import random
import string
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, ValidationError

from torchrl_lite.algo.sac import SACConfig
from torchrl_lite.config import (
    Config,
    Section,
    check,
    load,
    model,
    reference,
)
from torchrl_lite.errors import UserError

SECTIONS: dict[str, type[Section]] = {"sac": SACConfig}
TASK = 'env.tasks=["reach-v3"]'


class OtherConfig(Section):
    """The section of another algorithm."""

    delay: int = Field(2, ge=1, description="updates between two of the policy")


BOTH: dict[str, type[Section]] = {"sac": SACConfig, "td3": OtherConfig}


def one_task(**sections: Any) -> dict[str, Any]:
    """A tree with a task, and ``sections`` merged into it."""
    tree: dict[str, Any] = {"env": {"tasks": ["reach-v3"]}}
    for name, section in sections.items():
        tree[name] = {**tree.get(name, {}), **section} if isinstance(section, dict) else section
    return tree


def checked(tree: dict[str, Any]) -> Config:
    return check(tree, algo="sac", sections=SECTIONS, source="test.json")


def overridden(*overrides: str) -> Config:
    return load(None, [TASK, *overrides], sections=SECTIONS, algo="sac")


def write(path: Path, content: str | dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def loaded(path: Path, *overrides: str) -> Config:
    return load(path, overrides, sections=SECTIONS, algo="sac")


def from_text(folder: Path, suffix: str, text: str) -> Config:
    return loaded(write(folder / f"config{suffix}", text), TASK)


def error_of(call: Any, *args: Any, **kwargs: Any) -> str:
    """The one line of the mistake that ``call`` tells."""
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert message.strip(), "an error without a message"
    assert len(message.splitlines()) == 1, message
    return message


# --- what is accepted ----------------------------------------------------------------------------


def test_a_task_is_all_that_a_configuration_needs() -> None:
    assert overridden().env.tasks == ["reach-v3"]


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        overridden().train.batch_size = 8


@pytest.mark.parametrize("text", ["1e6", "1000000", "1000000.0", "1.0E6", "1E+6"])
def test_an_integral_float_is_an_integer(text: str) -> None:
    size = overridden(f"replay_buffer.size={text}").replay_buffer.size

    assert size == 1_000_000
    assert type(size) is int


def test_an_integral_float_within_a_list_is_an_integer() -> None:
    assert overridden("net.hidden_shapes=[4e2, 1e1]").net.hidden_shapes == [400, 10]


@pytest.mark.parametrize(
    ("text", "value"),
    [("3e-4", 3e-4), (".5", 0.5), ("1.", 1.0), ("3.e-4", 3e-4), (".5e-3", 5e-4), ("1", 1.0)],
)
@pytest.mark.parametrize("suffix", [".yaml", ".yml", "--set"])
def test_numbers_may_be_written_as_people_write_them(
    tmp_path: Path, suffix: str, text: str, value: float
) -> None:
    if suffix == "--set":
        config = overridden(f"sac.plr={text}")
    else:
        config = from_text(tmp_path, suffix, f"sac:\n  plr: {text}\n")

    assert config.agent.plr == value
    assert type(config.agent.plr) is float


@pytest.mark.parametrize("text", ["+8", "8.", "8e0", "80e-1", "0x8", "0o10", "010", "08", "1_0"])
def test_a_number_means_the_same_in_yaml_and_in_set(tmp_path: Path, text: str) -> None:
    def batch_size(config: Any) -> int | str:
        try:
            return config().train.batch_size
        except UserError:
            return "refused"

    in_yaml = batch_size(lambda: from_text(tmp_path, ".yaml", f"train: {{batch_size: {text}}}"))

    assert in_yaml == batch_size(lambda: overridden(f"train.batch_size={text}"))


def test_a_sexagesimal_number_of_old_yaml_is_no_number(tmp_path: Path) -> None:
    message = error_of(from_text, tmp_path, ".yaml", "train: {batch_size: 1:30}")

    assert "train.batch_size" in message


def test_a_value_of_set_that_is_no_json_is_a_string() -> None:
    assert overridden("env.reward_version=v1").env.reward_version == "v1"


def test_a_value_of_set_may_hold_an_equals_sign() -> None:
    message = error_of(overridden, "env.reward_version=a=b")

    assert '"a=b"' in message


def test_of_two_overrides_of_a_field_the_later_holds() -> None:
    assert overridden("train.batch_size=8", "train.batch_size=16").train.batch_size == 16


def test_an_override_replaces_a_list_whole() -> None:
    config = overridden("net.hidden_shapes=[8, 8]", "net.hidden_shapes=[4]")

    assert config.net.hidden_shapes == [4]


def test_null_stands_for_none(tmp_path: Path) -> None:
    config = from_text(tmp_path, ".yaml", "env: {reward_normalization: null}")

    assert config.env.reward_normalization is None


@pytest.mark.parametrize(
    "override",
    [
        "curriculum=null",
        "transfer=null",
        "env.max_episode_frames=null",
        "sac.grad_clip=null",
        "train.snapshot_interval=null",
    ],
)
def test_what_may_be_absent_may_be_null(override: str) -> None:
    overridden(override)


@pytest.mark.parametrize("key", ["sac.alpha", "system.workers", "system.threads"])
@pytest.mark.parametrize("value", ["auto", "1"])
def test_a_field_may_be_auto_or_a_number(key: str, value: str) -> None:
    overridden(f"{key}={value}")


# --- unknown keys --------------------------------------------------------------------------------

MISSPELT = [
    ("trian", "train"),
    ("enw", "env"),
    ("sacc", "sac"),
    ("curiculum", "curriculum"),
    ("env.num_env", "num_envs"),
    ("env.task", "tasks"),
    ("net.hidden_shape", "hidden_shapes"),
    ("net.critics", "critic"),
    ("net.critic.bin", "bins"),
    ("net.actor_hidden_shape", "actor_hidden_shapes"),
    ("env.noise_repeats", "noise_repeat"),
    ("train.nstep", "n_step"),
    ("sac.policy_dely", "policy_delay"),
    ("replay_buffer.sizes", "size"),
    ("train.batchsize", "batch_size"),
    ("train.eval_intervall", "eval_interval"),
    ("system.worker", "workers"),
    ("log.consol", "console"),
    ("sac.dicount", "discount"),
    ("sac.target_entrpy", "target_entropy"),
]


def nested(key: str, value: Any) -> dict[str, Any]:
    """``one_task`` with a value at a dotted key."""
    first, *rest = key.split(".")
    for part in reversed(rest):
        value = {part: value}
    return one_task(**{first: value})


@pytest.mark.parametrize(("key", "right"), MISSPELT)
def test_an_unknown_key_is_named_with_the_nearest_one(key: str, right: str) -> None:
    message = error_of(checked, nested(key, 1))

    assert f"test.json: {key}: unknown key" in message
    assert f"'{right}'" in message


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("trian", ["env", "net", "replay_buffer", "train", "system", "sac"]),
        ("train.batchsize", ["batch_size", "opt_steps", "num_epochs", "eval_interval"]),
        ("sac.dicount", ["discount", "tau", "plr", "qlr", "alpha", "policy"]),
    ],
)
def test_an_unknown_key_is_told_with_all_that_are_allowed(key: str, allowed: list[str]) -> None:
    message = error_of(checked, nested(key, 1))

    rest = message.replace(key, "")
    assert all(name in rest for name in allowed), message


@pytest.mark.parametrize(("key", "right"), MISSPELT)
def test_an_unknown_key_of_an_override_is_named_with_the_nearest_one(key: str, right: str) -> None:
    message = error_of(overridden, f"{key}=1")

    assert f"{key}: unknown key" in message
    assert f"'{right}'" in message


@pytest.mark.parametrize(
    ("key", "known"),
    [("qqqq", "replay_buffer"), ("log.qqqq", "console"), ("net.qqqq", "hidden_shapes")],
)
def test_an_unknown_key_far_from_all_is_told_with_those_that_are_allowed(
    key: str, known: str
) -> None:
    message = error_of(checked, nested(key, 1))

    assert f"{key}: unknown key" in message
    assert known in message


@pytest.mark.parametrize(
    "key", ["", " ", "a.b", "env.tasks", "env\n", "a\nb", "\r", "\u2028x", "\ud800"]
)
@pytest.mark.parametrize("depth", [0, 1])
def test_a_strange_key_is_a_mistake_in_one_line(key: str, depth: int) -> None:
    error_of(checked, one_task(**{key: 1}) if depth == 0 else one_task(train={key: 1}))


@pytest.mark.parametrize("key", ["env.tasks.0", "env.tasks.first.second", "env.tasks.x"])
def test_a_list_has_no_keys(key: str) -> None:
    assert "env.tasks" in error_of(overridden, f"{key}=1")


@pytest.mark.parametrize("key", ["sac.plr.x", "train.batch_size.x.y", "algo.x", "log.console.a.b"])
def test_a_value_has_no_keys(key: str) -> None:
    assert key.split(".")[0] in error_of(overridden, f"{key}=1")


@pytest.mark.parametrize("key", ["1", "true", "null", "3.5", "2020-01-01", "!!binary aGVsbG8="])
@pytest.mark.parametrize(
    "place",
    [
        "{}: 2\nenv: {{tasks: [reach-v3]}}",
        "env: {{tasks: [reach-v3], {}: 2}}",
        "env: {{tasks: {{{}: 2}}}}",
    ],
    ids=["whole file", "section", "value"],
)
def test_a_yaml_key_that_is_no_string_is_a_mistake(tmp_path: Path, key: str, place: str) -> None:
    error_of(loaded, write(tmp_path / "config.yaml", place.format(key)))


# --- types ---------------------------------------------------------------------------------------

COUNTS = [
    "env.num_envs",
    "env.group_size",
    "env.max_episode_frames",
    "env.num_goals",
    "replay_buffer.size",
    "train.epoch_frames",
    "train.batch_size",
    "train.eval_interval",
    "train.eval_episodes",
    "train.final_eval_episodes",
    "train.save_interval",
    "train.snapshot_interval",
    "system.threads",
    "sac.target_update_interval",
    "sac.policy_delay",
    "train.n_step",
    "env.noise_repeat",
]
NULLABLE = ("env.max_episode_frames", "train.snapshot_interval", "sac.grad_clip")
NON_NEGATIVE_COUNTS = [
    "train.num_epochs",
    "train.pretrain_epochs",
    "train.opt_steps",
    "system.workers",
]
POSITIVE = [
    "sac.plr",
    "sac.qlr",
    "sac.adam_eps",
    "sac.grad_clip",
    "sac.reward_scale",
    "sac.initial_alpha",
    "net.critic.bound",
    "net.critic.sigma",
]
UNIT = ["sac.discount", "sac.tau", "train.lr_final"]
NON_NEGATIVE = ["sac.alpha", "sac.noise_std", "sac.noise_clip", "system.grace_seconds"]
NUMBERS = COUNTS + NON_NEGATIVE_COUNTS + POSITIVE + UNIT + NON_NEGATIVE
ALLOWED = {
    **dict.fromkeys(COUNTS, "an integer >= 1"),
    **dict.fromkeys(NON_NEGATIVE_COUNTS, "an integer >= 0"),
    **dict.fromkeys(POSITIVE, "a number > 0"),
    **dict.fromkeys(UNIT, "a number >= 0 and <= 1"),
    **dict.fromkeys(NON_NEGATIVE, "a number >= 0"),
}


def refusal(key: str, value: Any) -> str:
    """The message about a value; it names the key, the value and what is allowed."""
    message = error_of(checked, nested(key, value))
    assert f"test.json: {key}: " in message
    return message


@pytest.mark.parametrize("value", [True, False], ids=["true", "false"])
@pytest.mark.parametrize("key", NUMBERS)
def test_a_boolean_is_never_a_number(key: str, value: bool) -> None:
    message = refusal(key, value)

    assert f"{json.dumps(value)} is not allowed" in message
    assert ALLOWED[key] in message


@pytest.mark.parametrize("key", NUMBERS)
def test_a_quoted_number_is_never_a_number(key: str) -> None:
    message = refusal(key, "1")

    assert '"1" is not allowed' in message
    assert ALLOWED[key] in message


@pytest.mark.parametrize("key", NUMBERS)
def test_a_negative_number_is_refused(key: str) -> None:
    message = refusal(key, -1)

    assert "-1 is not allowed" in message
    assert ALLOWED[key] in message


@pytest.mark.parametrize("key", COUNTS + POSITIVE)
def test_zero_is_refused_where_nothing_would_happen(key: str) -> None:
    assert ALLOWED[key] in refusal(key, 0)


@pytest.mark.parametrize("key", COUNTS + NON_NEGATIVE_COUNTS)
def test_a_fraction_is_no_count(key: str) -> None:
    assert ALLOWED[key] in refusal(key, 2.5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "key",
    ["train.batch_size", "system.workers", "sac.plr", "sac.alpha", "sac.tau", "sac.log_std_min"],
)
def test_a_number_is_finite(key: str, value: float) -> None:
    refusal(key, value)


@pytest.mark.parametrize("value", [[], {}, [1], {"a": 1}], ids=str)
@pytest.mark.parametrize("key", ["train.batch_size", "sac.plr", "system.workers", "env.name"])
def test_a_collection_is_no_value(key: str, value: Any) -> None:
    refusal(key, value)


@pytest.mark.parametrize("key", [key for key in NUMBERS if key not in NULLABLE])
def test_null_is_refused_where_a_value_is_needed(key: str) -> None:
    assert ALLOWED[key] in refusal(key, None)


@pytest.mark.parametrize("value", [0, 1, "true", "yes", None])
def test_only_true_and_false_are_booleans(value: Any) -> None:
    assert "true or false" in refusal("system.overlap", value)


@pytest.mark.parametrize(
    ("key", "value", "allowed", "nearest"),
    [
        ("env.suite", "metawrld", '"metaworld"', "'metaworld'"),
        ("env.reward_version", "v3", '"v1" or "v2"', ""),
        ("env.reward_normalization", "emma", '"auto" or "ema" or "return" or null', "'ema'"),
        ("net.norm", "layr", '"none" or "layer"', "'layer'"),
        ("net.critic.kind", "hl_gaus", '"scalar" or "hl_gauss" or "two_hot"', "'hl_gauss'"),
        ("net.critic.kind", "twohot", '"scalar" or "hl_gauss" or "two_hot"', "'two_hot'"),
        ("net.critic.combine", "avg", '"min" or "mean"', ""),
        ("train.lr_schedule", "cosin", '"constant" or "linear" or "cosine"', "'cosine'"),
        ("net.kind", "mpl", '"mlp"', "'mlp'"),
        ("net.init", "garag", '"garage" or "metaworld_algorithms"', "'garage'"),
        ("net.task_input", "one-hot", '"onehot"', "'onehot'"),
        ("sac.policy", "gausian", '"gaussian" or "deterministic"', "'gaussian'"),
        ("sac.alpha", "aut", '"auto" or a number >= 0', "'auto'"),
        ("sac.target_entropy", "outo", '"auto" or a number', "'auto'"),
        ("system.workers", "aut", '"auto" or "ray" or an integer >= 0', "'auto'"),
        ("system.accel", "grpah", '"auto" or "eager" or "compile" or "graph"', "'graph'"),
        ("system.matmul_precision", "hihg", '"highest" or "high" or "medium"', "'high'"),
        ("log.console", "liv", '"auto" or "live" or "plain"', "'live'"),
    ],
)
def test_a_misspelt_choice_is_told_with_all_choices_and_the_nearest(
    key: str, value: str, allowed: str, nearest: str
) -> None:
    message = refusal(key, value)

    assert f'"{value}" is not allowed; it is {allowed}' in message
    assert nearest in message


@pytest.mark.parametrize(
    "section", ["env", "net", "replay_buffer", "train", "system", "log", "sac"]
)
@pytest.mark.parametrize("value", [5, None, "x", [], [1], True, 0.5], ids=str)
def test_a_section_is_an_object(section: str, value: Any) -> None:
    assert "is not allowed; it is an object" in refusal(section, value)


@pytest.mark.parametrize("value", ["reach-v3", 1, None, {"0": "reach-v3"}], ids=str)
def test_tasks_are_a_list(value: Any) -> None:
    assert "a list" in refusal("env.tasks", value)


@pytest.mark.parametrize("value", [1, None, ["reach-v3"], True], ids=str)
def test_a_task_is_a_string(value: Any) -> None:
    assert "a string" in refusal("env.tasks", [value])


@pytest.mark.parametrize("item", [True, "8", 0, -1, 2.5, None, [8]], ids=str)
def test_every_hidden_layer_is_a_count(item: Any) -> None:
    assert "an integer >= 1" in refusal("net.hidden_shapes", [8, item])


@pytest.mark.parametrize("key", ["env.tasks", "net.hidden_shapes"])
def test_an_empty_list_is_refused_and_the_message_says_why(key: str) -> None:
    message = refusal(key, [])

    reasons = ("at least", "least one", "not empty", "non-empty", "one or more")
    assert any(reason in message for reason in reasons), message


@pytest.mark.parametrize("name", ["../x", "..", ".", "a/b", "/abs", "", " ", "a\nb", "~", "a\0b"])
def test_a_name_cannot_leave_its_folder(name: str) -> None:
    refusal("env.name", name)


@pytest.mark.parametrize("name", ["../x", "", "a b"])
def test_a_refused_name_is_told_with_what_a_name_is(name: str) -> None:
    message = refusal("env.name", name)

    assert "letters" in message, message


def test_a_set_may_have_a_name() -> None:
    env = {"name": "MT10-rand_2.0+", "tasks": ["reach-v3", "push-v3"], "num_envs": 2}
    assert checked({"env": env}).env.set_name == "MT10-rand_2.0+"


def test_a_single_task_gives_the_set_its_own_name() -> None:
    assert checked(one_task(env={"name": "MT10"})).env.set_name == "reach-v3"


@pytest.mark.parametrize("value", [51, 1000])
def test_there_are_at_most_fifty_goals(value: int) -> None:
    assert "<= 50" in refusal("env.num_goals", value)


@pytest.mark.parametrize("value", [1.0001, 2, 1e9])
@pytest.mark.parametrize("key", UNIT)
def test_a_share_is_at_most_one(key: str, value: float) -> None:
    assert "<= 1" in refusal(key, value)


def test_all_mistakes_are_counted() -> None:
    message = error_of(checked, one_task(train={"batch_size": 0, "opt_steps": -1, "x": 1}))

    assert "(and 2 more)" in message


def test_a_missing_list_of_tasks_is_named() -> None:
    assert "env.tasks" in error_of(checked, {"env": {}})


# --- what must fit together ----------------------------------------------------------------------

TWO = {"tasks": ["reach-v3", "push-v3"], "num_envs": 2}


@pytest.mark.parametrize("num_envs", [1, 3, 5])
def test_environments_are_a_multiple_of_the_tasks(num_envs: int) -> None:
    message = error_of(checked, {"env": TWO | {"num_envs": num_envs}})

    assert f"env.num_envs: {num_envs} is no multiple of the 2 tasks" in message


@pytest.mark.parametrize("batch_size", [1, 255])
def test_a_batch_is_a_multiple_of_the_tasks(batch_size: int) -> None:
    message = error_of(checked, {"env": TWO, "train": {"batch_size": batch_size}})

    assert f"train.batch_size: {batch_size} is no multiple of the 2 tasks" in message


def test_no_task_is_named_twice() -> None:
    message = error_of(checked, {"env": {"tasks": ["reach-v3", "reach-v3"], "num_envs": 2}})

    assert "env.tasks: 'reach-v3' is named twice" in message


@pytest.mark.parametrize(
    ("size", "env", "fits"),
    [
        (500, {"tasks": ["reach-v3"]}, True),
        (499, {"tasks": ["reach-v3"]}, False),
        (1000, TWO, True),
        (999, TWO, False),
        (5000, {"tasks": ["reach-v3"], "num_envs": 10}, True),
        (4999, {"tasks": ["reach-v3"], "num_envs": 10}, False),
    ],
)
def test_the_buffer_holds_at_least_an_epoch(size: int, env: dict[str, Any], fits: bool) -> None:
    tree = {"env": env, "replay_buffer": {"size": size}}
    if fits:
        checked(tree)
    else:
        assert f"replay_buffer.size: {size} is too small" in error_of(checked, tree)


def test_overlap_needs_workers() -> None:
    message = error_of(checked, one_task(system={"overlap": True, "workers": 0}))

    assert "system.overlap" in message
    assert "workers" in message


@pytest.mark.parametrize("workers", [1, "auto"])
def test_overlap_with_workers_is_fine(workers: int | str) -> None:
    checked(one_task(system={"overlap": True, "workers": workers}))


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ({"tasks": ["reach-v3"]}, "reach-v3"),
        (TWO, "MT2"),
        (TWO | {"name": "pair"}, "pair"),
    ],
)
def test_a_set_is_called_by_its_name_its_task_or_its_size(env: dict[str, Any], name: str) -> None:
    assert checked({"env": env}).env.set_name == name


# --- the algorithm -------------------------------------------------------------------------------


@pytest.mark.parametrize("algo", ["td3", "SAC", "", None, 5, True, ["sac"], {"sac": 1}], ids=str)
def test_a_configuration_of_another_algorithm_is_refused(algo: Any) -> None:
    message = error_of(checked, one_task(algo=algo))

    assert "test.json: algo: " in message
    assert "'sac'" in message


def test_a_configuration_may_name_its_algorithm() -> None:
    assert checked(one_task(algo="sac")).algo == "sac"


def test_a_configuration_that_names_no_algorithm_gets_its_starters() -> None:
    assert checked(one_task()).algo == "sac"


@pytest.mark.parametrize("algo", ["tdd3", "sacs", "", None, 5, ["sac"], {"a": 1}], ids=str)
def test_a_file_of_an_unknown_algorithm_is_refused_where_it_decides(
    tmp_path: Path, algo: Any
) -> None:
    path = write(tmp_path / "config.json", one_task(algo=algo))

    message = error_of(load, path, sections=BOTH)

    assert "algo" in message


def test_a_file_decides_its_algorithm_where_nobody_else_does(tmp_path: Path) -> None:
    path = write(tmp_path / "config.json", one_task(algo="td3"))

    assert load(path, sections=BOTH).agent == OtherConfig()


def test_a_file_may_hold_sections_of_several_algorithms() -> None:
    tree = one_task(sac={"tau": 0.5}, td3={"delay": 3})

    config = check(tree, algo="sac", sections=BOTH, source="test.json")

    assert config.agent.tau == 0.5
    assert not hasattr(config, "td3")


def test_a_mistake_in_the_section_of_another_algorithm_is_found() -> None:
    tree = one_task(td3={"delai": 3})

    message = error_of(check, tree, algo="sac", sections=BOTH, source="test.json")

    assert "td3.delai: unknown key" in message
    assert "'delay'" in message


def test_the_section_of_no_algorithm_is_an_unknown_key() -> None:
    assert "ppo: unknown key" in error_of(checked, one_task(ppo={}))


def test_checking_leaves_the_tree_as_it_was() -> None:
    tree = one_task(sac={"plr": 1.0}, td3={"delay": 3})
    before = json.dumps(tree)

    check(tree, algo="sac", sections=BOTH, source="test.json")

    assert json.dumps(tree) == before


# --- files ---------------------------------------------------------------------------------------


def test_a_missing_file_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    write(tmp_path / "base_st.json", {})

    message = error_of(loaded, tmp_path / "base_sd.json")

    assert "base_sd.json" in message
    assert "'base_st.json'" in message


def test_a_missing_folder_is_a_mistake(tmp_path: Path) -> None:
    assert "there is no such configuration" in error_of(loaded, tmp_path / "no" / "config.json")


@pytest.mark.parametrize("name", ["config", "config.txt", "config.JSON", "config.toml", ".json"])
def test_a_file_is_json_or_yaml(tmp_path: Path, name: str) -> None:
    message = error_of(loaded, write(tmp_path / name, "{}"))

    assert ".json, .yaml or .yml" in message


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()

    error_of(loaded, tmp_path / "config.json")


def test_a_name_that_is_too_long_is_a_mistake(tmp_path: Path) -> None:
    error_of(loaded, tmp_path / f"{'x' * 300}.json")


@pytest.mark.parametrize("name", ["a\nb.json", "a\rb.json"])
def test_a_missing_file_of_a_strange_name_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    error_of(loaded, tmp_path / name)


NO_JSON = ["", "{", "{'a': 1}", '{"a": 1,}', "// no\n{}", "{}\n{}", "\x00", '{"a": 01}', "env: 1"]


@pytest.mark.parametrize("text", NO_JSON)
def test_a_file_that_is_no_json_is_told_with_its_place(tmp_path: Path, text: str) -> None:
    message = error_of(loaded, write(tmp_path / "config.json", text))

    assert "config.json: no valid JSON" in message
    assert "line" in message
    assert "column" in message


@pytest.mark.parametrize("text", ["{", "a: b: c", "\t", "[", "--- {}\n--- {}", "&a", "*a", "%x"])
def test_a_file_that_is_no_yaml_is_a_mistake(tmp_path: Path, text: str) -> None:
    assert "config.yaml" in error_of(loaded, write(tmp_path / "config.yaml", text))


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_bytes_that_are_no_text_are_a_mistake(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"config{suffix}"
    path.write_bytes(b"\xff\xfe{}")

    assert path.name in error_of(loaded, path)


@pytest.mark.parametrize("text", ["[]", "[1]", "5", "null", '"env"', "true"])
@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_a_file_holds_an_object(tmp_path: Path, suffix: str, text: str) -> None:
    assert "an object" in error_of(loaded, write(tmp_path / f"config{suffix}", text))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_json_with_a_number_that_is_none_is_refused(tmp_path: Path, number: str) -> None:
    message = error_of(from_text, tmp_path, ".json", f'{{"sac": {{"plr": {number}}}}}')

    assert number in message


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf", ".NaN", "nan", "inf", "1e400"])
def test_yaml_with_a_number_that_is_none_is_refused(tmp_path: Path, number: str) -> None:
    assert "sac.plr" in error_of(from_text, tmp_path, ".yaml", f"sac: {{plr: {number}}}")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "nan", "inf", "1e400"])
def test_an_override_with_a_number_that_is_none_is_refused(number: str) -> None:
    assert "sac.plr" in error_of(overridden, f"sac.plr={number}")


@pytest.mark.parametrize("digits", [400, 5000])
@pytest.mark.parametrize("key", ["sac.plr", "train.batch_size"])
def test_a_number_without_measure_is_refused(tmp_path: Path, key: str, digits: int) -> None:
    section, field = key.split(".")
    number = "-" + "9" * digits

    error_of(overridden, f"{key}={number}")
    error_of(from_text, tmp_path, ".json", f'{{"{section}": {{"{field}": {number}}}}}')
    error_of(from_text, tmp_path, ".yaml", f"{section}: {{{field}: {number}}}")


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".json", '{"train": {}, "train": {}}'),
        (".json", '{"train": {"batch_size": 8, "batch_size": 16}}'),
        (".yaml", "train: {}\ntrain: {}"),
        (".yaml", "train:\n  batch_size: 8\n  batch_size: 16\n"),
        (".yaml", "train: {batch_size: 8, batch_size: 8}"),
        (".yml", "train: {batch_size: 8, 'batch_size': 16}"),
    ],
)
def test_a_key_stands_once_in_a_section(tmp_path: Path, suffix: str, text: str) -> None:
    message = error_of(from_text, tmp_path, suffix, text)

    assert "twice" in message
    assert ("batch_size" if "batch_size" in text else "train") in message


def test_a_key_stands_once_in_an_override() -> None:
    assert "num_envs" in error_of(overridden, 'env={"num_envs": 1, "num_envs": 2}')


def test_yaml_may_use_a_value_twice(tmp_path: Path) -> None:
    text = "env: {tasks: [reach-v3]}\ntrain: {eval_interval: &n 8, save_interval: *n}\n"
    train = loaded(write(tmp_path / "config.yaml", text)).train

    assert (train.eval_interval, train.save_interval) == (8, 8)


@pytest.mark.parametrize("text", ["a: &a [*a]", "train: &t {train: *t}", "env: &e {tasks: [*e]}"])
def test_yaml_that_holds_itself_is_refused(tmp_path: Path, text: str) -> None:
    error_of(loaded, write(tmp_path / "config.yaml", text))


@pytest.mark.parametrize("text", ["!!python/object/apply:os.getcwd []", "!!python/name:os.system"])
def test_yaml_builds_no_objects(tmp_path: Path, text: str) -> None:
    message = error_of(loaded, write(tmp_path / "config.yaml", f"env: {text}"))

    assert "no valid YAML" in message


@pytest.mark.parametrize("value", ["2020-01-01", "!!set {a}", "!!binary aGVsbG8="])
def test_yaml_values_that_json_does_not_know_are_refused(tmp_path: Path, value: str) -> None:
    assert "train.batch_size" in error_of(
        from_text, tmp_path, ".yaml", f"train: {{batch_size: {value}}}"
    )


@pytest.mark.parametrize("depth", [100, 300, 450, 900, 5000, 100_000])
@pytest.mark.parametrize("form", ["json", "json list", "yaml", "set", "set key"])
def test_a_tree_that_is_too_deep_is_a_mistake(tmp_path: Path, form: str, depth: int) -> None:
    if form == "yaml" and depth > 1000:
        depth = 1000  # its parser is slow
    tree = '{"train":' * depth + "1" + "}" * depth
    if form == "set":
        error_of(overridden, f"train={tree}")
    elif form == "set key":
        error_of(overridden, f"{'.'.join(['train'] * min(depth, 5000))}=1")
    else:
        if form == "json list":
            tree = '{"train":' + "[" * depth + "]" * depth + "}"
        suffix = ".yaml" if form == "yaml" else ".json"
        error_of(loaded, write(tmp_path / f"config{suffix}", tree))


# --- extends -------------------------------------------------------------------------------------


def test_extends_is_relative_to_the_file_it_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "base.json", one_task(train={"batch_size": 8}))
    write(tmp_path / "sets" / "middle.json", {"extends": "../base.json"})
    leaf = write(tmp_path / "sets" / "deep" / "leaf.json", {"extends": "../middle.json"})
    monkeypatch.chdir(tmp_path / "sets")

    assert loaded(leaf).train.batch_size == 8
    assert loaded(Path("deep/leaf.json")).train.batch_size == 8


def test_an_extended_path_may_be_absolute(tmp_path: Path) -> None:
    base = write(tmp_path / "a" / "base.json", one_task(train={"batch_size": 8}))
    leaf = write(tmp_path / "b" / "leaf.json", {"extends": str(base)})

    assert loaded(leaf).train.batch_size == 8


def test_the_nearer_file_of_a_chain_wins_field_by_field(tmp_path: Path) -> None:
    first = one_task(train={"batch_size": 8, "opt_steps": 1, "num_epochs": 1})
    write(tmp_path / "a.json", first)
    write(tmp_path / "b.json", {"extends": "a.json", "train": {"opt_steps": 2, "num_epochs": 2}})
    write(tmp_path / "c.json", {"extends": "b.json", "train": {"num_epochs": 3}})

    train = loaded(tmp_path / "c.json").train

    assert (train.batch_size, train.opt_steps, train.num_epochs) == (8, 2, 3)


def test_a_list_replaces_the_list_it_overrides(tmp_path: Path) -> None:
    write(tmp_path / "a.json", one_task(net={"hidden_shapes": [400, 400, 400]}))
    leaf = write(tmp_path / "b.json", {"extends": "a.json", "net": {"hidden_shapes": [8]}})

    assert loaded(leaf).net.hidden_shapes == [8]


def test_null_replaces_a_value(tmp_path: Path) -> None:
    write(tmp_path / "a.json", one_task(sac={"grad_clip": 1}))
    leaf = write(tmp_path / "b.json", {"extends": "a.json", "sac": {"grad_clip": None}})

    assert loaded(leaf).agent.grad_clip is None


def test_an_override_wins_over_the_whole_chain(tmp_path: Path) -> None:
    write(tmp_path / "a.json", one_task(train={"batch_size": 8}))
    leaf = write(tmp_path / "b.json", {"extends": "a.json", "train": {"batch_size": 16}})

    assert loaded(leaf, "train.batch_size=32").train.batch_size == 32


@pytest.mark.parametrize(("base", "leaf"), [("a.yaml", "b.json"), ("a.json", "b.yml")])
def test_json_and_yaml_extend_each_other(tmp_path: Path, base: str, leaf: str) -> None:
    write(tmp_path / base, one_task(train={"batch_size": 8}))
    write(tmp_path / leaf, {"extends": base})  # JSON is YAML

    assert loaded(tmp_path / leaf).train.batch_size == 8


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_cycle_of_extensions_is_a_mistake(tmp_path: Path, length: int) -> None:
    for index in range(length):
        write(tmp_path / f"{index}.json", {"extends": f"{(index + 1) % length}.json"})

    assert "0.json: extends itself" in error_of(loaded, tmp_path / "0.json")


def test_a_cycle_through_another_spelling_is_found(tmp_path: Path) -> None:
    write(tmp_path / "a.json", {"extends": f"../{tmp_path.name}/a.json"})

    assert "extends itself" in error_of(loaded, tmp_path / "a.json")


def test_extending_a_missing_file_names_it_and_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "base.json", {})
    leaf = write(tmp_path / "leaf.json", {"extends": "bases.json"})

    message = error_of(loaded, leaf)

    assert "bases.json: there is no such configuration" in message
    assert "'base.json'" in message


def test_a_mistake_in_an_extended_file_names_that_file(tmp_path: Path) -> None:
    write(tmp_path / "base.json", "{")
    leaf = write(tmp_path / "leaf.json", {"extends": "base.json"})

    assert "base.json: no valid JSON" in error_of(loaded, leaf)


@pytest.mark.parametrize("value", [5, True, False, [], ["a.json"], {}, {"a": 1}], ids=str)
def test_extends_is_one_path(tmp_path: Path, value: Any) -> None:
    assert "extends" in error_of(loaded, write(tmp_path / "config.json", {"extends": value}))


@pytest.mark.parametrize("value", ["", ".", "..", "/", "a\0b.json", "\n", "a\nb.json", "x" * 5000])
def test_extending_a_strange_path_is_a_mistake(tmp_path: Path, value: str) -> None:
    error_of(loaded, write(tmp_path / "config.json", {"extends": value}))


def test_only_a_whole_file_extends(tmp_path: Path) -> None:
    write(tmp_path / "base.json", one_task())
    tree = one_task(train={"extends": "base.json"})

    assert "train.extends" in error_of(loaded, write(tmp_path / "config.json", tree))


# --- overrides -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["a", "", "=", "=1", ".=1", "a.=1", ".a=1", "a..b=1", " =1"])
def test_an_override_without_a_key_or_a_value_is_a_mistake(text: str) -> None:
    message = error_of(overridden, text)

    assert f"--set {text}".strip() in message
    assert "section.key=value" in message


@pytest.mark.parametrize("text", ["a\n", "\n=1", "a\nb=1", "train.a\nb=1", "train.batch_size\r=x"])
def test_an_override_with_a_line_break_is_told_in_one_line(text: str) -> None:
    error_of(overridden, text)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("sac=5", "sac"),
        ("train=", "train"),
        ("env=null", "env"),
        ("env.tasks=reach-v3", "env.tasks"),
        ("env.tasks=", "env.tasks"),
        ("env.tasks={}", "env.tasks"),
        ("env.tasks=[]", "env.tasks"),
        ("env.tasks=[reach-v3]", "env.tasks"),
        ("env.tasks.0=1", "env.tasks"),
        ("algo=td3", "algo"),
        ("extends=base.json", "extends"),
        ("train.batch_size=", "train.batch_size"),
        ("train.batch_size=0", "train.batch_size"),
        ("train.batch_size=-1", "train.batch_size"),
        ("train.batch_size=true", "train.batch_size"),
        ('train.batch_size="256"', "train.batch_size"),
        ("train.batch_size=256 frames", "train.batch_size"),
        ("train.batch_size=.5", "train.batch_size"),
        ("train.batch_size=1e-3", "train.batch_size"),
        ("train.batch_size=--5", "train.batch_size"),
        ("curriculum={}", "curriculum.kind"),
        ("transfer=[]", "transfer"),
        ("system.overlap=True", "system.overlap"),
    ],
)
def test_a_wrong_override_is_told_with_its_key(override: str, key: str) -> None:
    assert f"{key}: " in error_of(overridden, override)


# --- nothing but UserError ---------------------------------------------------------------------

KEYS = [key for key, *_ in reference(model("sac", SECTIONS))]
WORDS = sorted({part for key in KEYS for part in key.split(".")})
STRANGE_WORDS = ["", "0", "extends", "a\nb", "\u2028", "\ud800", "a.b", "NUM_ENVS", "é", "\x7f"]
LEAVES: list[Any] = [
    None, True, False, 0, 1, -1, 8, 256, 10**6, 10**30, -(10**400), 0.5, -0.0, 1e300, 1e-300,
    math.nan, math.inf, -math.inf, "", "auto", "reach-v3", "v2", "mlp", "a\nb", "\ud800", "\0",
    "NaN", "1", "../x", "x" * 1000,
]  # fmt: skip


def random_tree(rng: random.Random, depth: int) -> Any:
    """A value made mostly of what a configuration knows, so that it gets far before it fails."""
    kind = rng.random()
    if depth == 0 or kind < 0.35:
        return rng.choice(LEAVES)
    if kind < 0.5:
        return [random_tree(rng, depth - 1) for _ in range(rng.randrange(4))]
    words = WORDS if rng.random() < 0.8 else STRANGE_WORDS
    return {rng.choice(words): random_tree(rng, depth - 1) for _ in range(rng.randrange(5))}


def random_config(rng: random.Random) -> dict[str, Any]:
    """A sound configuration with some of its fields replaced by random values."""
    tree = checked(one_task()).model_dump()
    for _ in range(rng.randrange(1, 4)):
        *sections, field = rng.choice(KEYS).split(".")
        place = tree
        for section in sections:
            place = place[section] if isinstance(place.get(section), dict) else {}
        if rng.random() < 0.2:
            field = rng.choice(STRANGE_WORDS + WORDS)
        place[field] = random_tree(rng, rng.randrange(3))
    return tree


def fails_well(call: Any, *args: Any) -> bool:
    """Whether the call raised `UserError`, in one line; any other exception goes on."""
    try:
        call(*args)
    except UserError as error:
        assert len(str(error).splitlines()) == 1, str(error)
        return True
    return False


@pytest.mark.parametrize("seed", range(10))
def test_random_trees_raise_nothing_but_config_errors(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(15):
        tree = random_tree(rng, 4)
        fails_well(checked, tree if isinstance(tree, dict) else {"env": tree})
        fails_well(checked, random_config(rng))


@pytest.mark.parametrize("seed", range(5))
def test_random_files_raise_nothing_but_config_errors(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    for index in range(10):
        text = json.dumps(random_config(rng))
        if rng.random() < 0.5:  # damaged
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(["", '"', "}", "[", "NaN", "\0", ":"]) + text[at + 1 :]
        for suffix in (".json", ".yaml"):
            fails_well(loaded, write(tmp_path / f"{index}{suffix}", text))


@pytest.mark.parametrize("seed", range(10))
def test_random_overrides_raise_nothing_but_config_errors(seed: int) -> None:
    rng = random.Random(seed)
    symbols = string.printable + '{}[]":,.=-+eE0123456789' * 3 + "é\u2028\ud800"
    for _ in range(20):
        value = "".join(rng.choice(symbols) for _ in range(rng.randrange(12)))
        fails_well(overridden, f"{rng.choice(KEYS)}={value}")
        fails_well(overridden, value)


@pytest.mark.parametrize("seed", range(3))
def test_random_mistakes_in_one_field_are_mostly_found(seed: int) -> None:
    """The fuzz above is worth something only if it meets the checks."""
    rng = random.Random(seed)

    assert sum(fails_well(checked, random_config(rng)) for _ in range(50)) >= 25


# --- the reference -------------------------------------------------------------------------------


def test_every_field_of_the_reference_has_a_type_and_a_line() -> None:
    for key, kind, default, text in reference(model("sac", SECTIONS)):
        assert kind not in ("", "any value"), key
        assert default, key
        assert text, key
        assert "\n" not in text


IN_A_PLAIN_RUN = [key for key in KEYS if not key.startswith("curriculum.")]


def test_the_reference_holds_every_field_once() -> None:
    def leaves(tree: dict[str, Any], prefix: str = "") -> list[str]:
        keys: list[str] = []
        for key, value in tree.items():
            section = isinstance(value, dict) and value  # an empty object is a value
            inner = leaves(value, f"{prefix}{key}.") if section else None
            keys += inner if inner is not None else [f"{prefix}{key}"]
        return keys

    fields = set(leaves(overridden("transfer={}").model_dump())) - {
        "curriculum"
    }  # whose fields stand for it
    assert sorted(IN_A_PLAIN_RUN) == sorted(fields)


@pytest.mark.parametrize("key", [key for key in IN_A_PLAIN_RUN if key not in ("algo", "env.tasks")])
def test_the_default_in_the_reference_is_the_default(key: str) -> None:
    default = next(row[2] for row in reference(model("sac", SECTIONS)) if row[0] == key)
    value: Any = overridden("transfer={}").model_dump()
    for part in key.split("."):
        value = value[part]

    assert json.loads(default) == value


def test_the_bounds_of_the_log_std_are_in_order() -> None:
    assert "log_std_max" in refusal("sac.log_std_min", 3.0)


@pytest.mark.parametrize("other", [{"alpha": 0.2}, {"policy": "deterministic"}])
def test_temperature_weights_need_temperatures(other: dict[str, object]) -> None:
    tree = one_task(sac={"temperature_weights": True} | other)
    assert "sac.temperature_weights" in error_of(checked, tree)


@pytest.mark.parametrize("kind", ["independent", "soft_module", "paco", "moore", "film", "care"])
def test_an_embedding_that_no_layer_would_read_is_refused(kind: str) -> None:
    tree = one_task(net={"kind": kind, "task_input": "embedding"})
    assert "net.task_input" in error_of(checked, tree)


@pytest.mark.parametrize("key", ["hidden_shapes", "actor_hidden_shapes"])
def test_residual_layers_need_one_width(key: str) -> None:
    net = {"residual": True, "hidden_shapes": [8, 8], key: [16, 16, 12]}
    message = error_of(checked, one_task(net=net))
    assert f"net.{key}: [16, 16, 12]: residual layers need one width" in message
    assert checked(one_task(net=net | {key: [16, 16]}))


def test_soft_modules_are_not_residual() -> None:
    tree = one_task(net={"kind": "soft_module", "residual": True})
    assert 'net.residual: is not for kind "soft_module"' in error_of(checked, tree)


@pytest.mark.parametrize("bins", [0, 1, 4097, 2.5, True])
def test_a_distribution_has_two_bins_or_more(bins: Any) -> None:
    assert "an integer >= 2 and <= 4096" in refusal("net.critic.bins", bins)


@pytest.mark.parametrize(("key", "most"), [("train.n_step", 1024), ("env.noise_repeat", 1024)])
def test_steps_at_once_have_a_limit(key: str, most: int) -> None:
    assert f"an integer >= 1 and <= {most}" in refusal(key, most + 1)
    assert checked(nested(key, most))


def test_independent_agents_are_not_weighted_against_each_other() -> None:
    tree = one_task(net={"kind": "independent"}, sac={"temperature_weights": True})
    assert "sac.temperature_weights" in error_of(checked, tree)


def test_the_configuration_of_the_contract_loads() -> None:
    assert checked(one_task(curriculum=None, transfer=None, log={"video": False}))
