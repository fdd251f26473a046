"""Configurations are strict and checked as a whole, and every error is one line."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import error_of
from pydantic import Field
from tiny_runs import tree_of

from torchrl_lite.algo.sac import SACConfig
from torchrl_lite.config import Config, Section, check, load, model, reference
from torchrl_lite.config.files import flat

SECTIONS: dict[str, type[Section]] = {"sac": SACConfig}
TASK = 'env.tasks=["reach-v3"]'


class OtherConfig(Section):
    """The section of another algorithm."""

    delay: int = Field(2, ge=1, description="updates between two of the policy")


BOTH: dict[str, type[Section]] = {"sac": SACConfig, "td3": OtherConfig}


def tree(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A tree with one task and these dotted fields."""
    return tree_of({"env.tasks": ["reach-v3"]} | fields)


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


def rejection(key: str, value: Any) -> str:
    """The error message for a value, which names its key."""
    message = error_of(checked, tree({key: value}))
    assert f"test.json: {key}: " in message
    return message


# --- values --------------------------------------------------------------------------------------


def test_an_integral_float_becomes_an_integer() -> None:
    size = overridden("replay_buffer.size=1e6").replay_buffer.size
    assert (size, type(size)) == (1_000_000, int)
    assert overridden("net.hidden_shapes=[4e2, 10.0]").net.hidden_shapes == [400, 10]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *((text, float(text)) for text in ("3e-4", ".5", "3.e-4", "1", "8.", "010")),
        *((text, None) for text in ("0x8", "1:30", "2020-01-01")),
        *((text, None) for text in ("NaN", "-Infinity", ".nan", "1e400")),
    ],
)
def test_a_number_means_the_same_in_yaml_and_in_set(
    tmp_path: Path, text: str, number: float | None
) -> None:
    """None: it is refused in both."""
    file = write(tmp_path / "config.yaml", f"sac: {{plr: {text}}}")
    for source, overrides in ((file, [TASK]), (None, [TASK, f"sac.plr={text}"])):
        if number is None:
            assert "sac.plr" in error_of(load, source, overrides, sections=SECTIONS)
        else:
            plr = load(source, overrides, sections=SECTIONS).agent.plr
            assert (plr, type(plr)) == (number, float)


def test_a_set_value_that_is_not_json_is_a_string() -> None:
    assert overridden("env.reward_version=v1").env.reward_version == "v1"
    assert '"a=b"' in error_of(overridden, "env.reward_version=a=b")


# --- unknown keys --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "nearest", "other"),
    [
        ("trian", "train", "replay_buffer"),
        ("train.batchsize", "batch_size", "num_epochs"),
        ("net.critic.bin", "bins", "sigma"),
    ],
)
def test_an_unknown_key_is_reported_with_the_nearest_and_all_known_keys(
    key: str, nearest: str, other: str
) -> None:
    for message in (error_of(checked, tree({key: 1})), error_of(overridden, f"{key}=1")):
        assert f"{key}: unknown key; did you mean '{nearest}'?; known are " in message
        assert other in message
    assert "log.qqqq: unknown key; known are " in error_of(checked, tree({"log.qqqq": 1}))


def test_thousands_of_unknown_keys_are_rejected() -> None:
    keys = {f"key{number}": 0 for number in range(30_000)}
    assert "unknown key" in error_of(checked, tree({}) | keys)


def test_a_lone_surrogate_is_rejected_in_one_line() -> None:
    error_of(checked, tree({"\ud800": 1}))
    error_of(checked, tree({"sac.policy": "\ud800"}))


# --- types ---------------------------------------------------------------------------------------

NOT_NUMBERS: list[Any] = [True, "1", [1], {"a": 1}, math.nan, -math.inf]
TYPES: dict[str, tuple[str, list[Any]]] = {
    "train.batch_size": ("an integer >= 1", [*NOT_NUMBERS, -1, 0, 2.5, None]),
    "train.n_step": ("an integer >= 1 and <= 1024", [0, 1025]),
    "env.num_envs": ("an integer >= 1 and <= 65536", [65537]),  # all of them exist at once
    "sac.grad_clip": ("a number > 0 or null", [*NOT_NUMBERS, -1, 0]),
    "sac.tau": ("a number >= 0 and <= 1", [-1, 1.0001, None]),
    "sac.alpha": ('"auto" or a number >= 0', [*NOT_NUMBERS, -1, None]),
    "system.workers": ('"auto" or "ray" or an integer >= 0', [*NOT_NUMBERS, -1, 2.5, None]),
    "system.overlap": ("true or false", [0, 1, "true", None]),
    "env.name": ("a string of letters, digits and _ . + -", [1, [], "../x", "", "a b", "a\n"]),
    "env.tasks": (
        "a list of 1 to 1024, each a string of letters, digits and _ . + -, also as namespace/name",
        ["x", {"0": "x"}, None, []],
    ),
    "log.info": ("a string of letters, digits, spaces and _ . : -", [["a/b"]]),
    "net.hidden_shapes": (
        "of 1 to 100, each an integer >= 1",
        [[8, 0], [8, "8"], [8, [8]], [8, 10**12], []],
    ),
    "sac": ("an object", [5, None, "x", [], True]),
}


@pytest.mark.parametrize("key", TYPES)
def test_a_wrong_type_is_reported_with_what_is_allowed(key: str) -> None:
    allowed, wrong = TYPES[key]
    for value in wrong:
        message = rejection(key, value)
        item = value[-1] if key == "net.hidden_shapes" and value else value
        assert f"{json.dumps(item)} is not allowed; it must be " in message
        assert allowed in message


def test_a_misspelt_choice_lists_all_choices_and_the_nearest() -> None:
    message = rejection("env.reward_normalization", "emma")
    assert '"emma" is not allowed; it must be "auto" or "ema" or "return" or null' in message
    assert "'ema'" in message


@pytest.mark.parametrize("value", [1e16, 10**400, -1e300], ids=str)
def test_a_number_too_large_for_a_tensor_is_rejected(value: float) -> None:
    message = error_of(checked, tree({"sac.alpha": value}))
    assert message == "test.json: sac.alpha: too large; numbers must not exceed 1e+15"
    assert "net.hidden_shapes: too large" in rejection("net.hidden_shapes", [8, value])


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("env.tasks", [f"task{index}" for index in range(100_000)], "a list of 1 to 1024"),
        ("env.wrappers", ["X"] * 1500, "a list of 0 to 16"),
        ("net.hidden_shapes", [1] * 101, "a list of 1 to 100"),
        ("net.actor_hidden_shapes", [1] * 101, "a list of 1 to 100"),
        ("curriculum.stages", [["reach-v3"]] * 1025, "a list of 1 to 1024"),
        ("curriculum.stages", [["reach-v3"] * 1025], "a list of 1 to 1024"),
    ],
)
def test_a_list_that_is_too_long_is_rejected_in_a_short_message(
    key: str, value: list[Any], words: str
) -> None:
    message = error_of(checked, tree({"curriculum.kind": "custom", key: value}))
    assert message.startswith(f"test.json: {key}: [")
    assert f"... is not allowed; it must be {words}, each" in message
    assert len(message) < 400


def test_a_missing_field_is_named_and_further_errors_are_counted() -> None:
    assert "env.tasks: is missing" in error_of(checked, {"env": {}})
    message = error_of(overridden, "train.batch_size=0", "train.opt_steps=-1", "train.x=1")
    assert "(and 2 more)" in message


# --- fields that depend on each other ------------------------------------------------------------

TWO = 'env.tasks=["reach-v3","push-v3"] env.num_envs=2'
CUSTOM, MIXED = "curriculum.kind=custom curriculum.", "curriculum.kind=mixed curriculum."
CONFLICTS = {
    f"{TWO} env.num_envs=3": "env.num_envs: 3 is not a multiple of the 2 tasks",
    f"{TWO} train.batch_size=255": "train.batch_size: 255 is not a multiple of the 2 tasks",
    f'{TWO} env.tasks=["a","a"]': "env.tasks: 'a' is named twice",
    f"{TWO} replay_buffer.size=999": "replay_buffer.size: 999 is too small",
    "env.num_envs=10 replay_buffer.size=4999": "replay_buffer.size: 4999 is too small",
    "system.overlap=true system.workers=0": "system.overlap: ",
    "sac.log_std_min=3": "sac.log_std_min: 3.0 is above log_std_max",
    "sac.temperature_weights=true sac.alpha=0.2": "sac.temperature_weights: ",
    "sac.temperature_weights=true sac.policy=deterministic": "sac.temperature_weights: ",
    "sac.temperature_weights=true net.kind=independent": "sac.temperature_weights: ",
    "net.kind=independent net.task_input=embedding": "net.task_input: ",
    "net.kind=soft_module net.task_input=embedding": "net.task_input: ",
    "net.kind=soft_module net.residual=true": "net.residual: is not supported for kind",
    "net.kind=paco": 'net.kind: "paco" needs several tasks, but there is one',
    f"{TWO} net.kind=film net.residual=true": "net.residual: is not supported for kind",
    f"{TWO} net.kind=care net.task_input=embedding": "net.task_input: ",
    f"{TWO} net.kind=moore net.hidden_shapes=[3]": "net.moore.num_experts: 4 representations of 3",
    "train.gradients=pcgrad": 'train.gradients: "pcgrad" needs several tasks, but there is one',
    f"{TWO} train.gradients=cagrad net.kind=independent": 'train.gradients: "cagrad" combines',
    f"{TWO} train.gradients=famo sac.temperature_weights=true": 'train.gradients: "famo" learns',
    f"{TWO} train.gradients=gradnorm sac.temperature_weights=true": 'train.gradients: "gradnorm" l',
    "net.residual=true net.hidden_shapes=[16,12]": "net.hidden_shapes: [16, 12]: residual layers",
    "net.residual=true net.actor_hidden_shapes=[8,9]": "net.actor_hidden_shapes: [8, 9]: residual",
    "env.suite=gymnasium env.reward_version=v1": 'env.reward_version: "v1" is only for suite "meta',
    "env.suite=gymnasium env.reward=sparse": "env.reward: ",
    "env.suite=gymnasium env.hide_goal=true": "env.hide_goal: ",
    "env.suite=gymnasium env.num_goals=1": 'env.num_goals: 1 is only for suite "metaworld"',
    "env.suite=gymnasium env.fast=false": 'env.fast: false is only for suite "metaworld"',
    "env.reward=sparse env.reward_version=v1": 'env.reward_version: "v1" is of the dense reward',
    'transfer.load=["critic"] transfer.freeze_updates=5': "transfer.freeze_updates: ",
    'log.info=["a","a"]': "log.info: 'a' is named twice",
    'log.info=["a/b"]': "log.info: ",
    "sac.bc_weight=1": "sac.bc_weight: needs demonstrations",
    "train.bc_updates=5": "train.bc_updates: needs demonstrations",
    "train.demos=some train.batch_size=7": "train.batch_size: 7 is odd",
    "system.ray.address=ray://head:10001": 'system.ray.address: "ray://head:10001" is not',
    "system.ray.num_workers=0": "system.ray.num_workers: 0 is not allowed",
    "curriculum={}": 'curriculum.kind: is missing; it must be "sequential" or "progressive"',
    "curriculum.kind=custom": 'curriculum.stages: required for kind "custom"',
    f'{MIXED}stages=[["reach-v3"]]': "curriculum.stages: ",
    f'{CUSTOM}stages=[["reach-v4"]]': "curriculum.stages: 'reach-v4' is not in env.tasks; did you",
    f'{CUSTOM}stages=[["a","a"]]': "curriculum.stages: stage 0 names 'a' twice",
    f'{CUSTOM}stages=[["a"]] curriculum.difficulty={{"a":1}}': "difficulty: not used",
    f'{MIXED}difficulty={{"reach-v4":1}}': "curriculum.difficulty: 'reach-v4' is not in env.tasks",
    'curriculum.kind=mixed env.tasks=["sweep-v3"]': "curriculum.difficulty: 'sweep-v3' needs a",
    f"{MIXED}max_frames_per_stage=9": "curriculum.max_frames_per_stage: 9 is below",
    f"{MIXED}first_stage=1": "first_stage: 1 does not exist; the stages are 0 to 0",
    f"{MIXED}old_data=dorp": "did you mean 'drop'",
}


@pytest.mark.parametrize("fields", CONFLICTS)
def test_invalid_and_conflicting_fields_are_named(fields: str) -> None:
    assert CONFLICTS[fields] in error_of(overridden, *fields.split())


@pytest.mark.parametrize(
    "fields",
    [
        f"{TWO} replay_buffer.size=1000",
        "env.num_envs=10 replay_buffer.size=5000",
        "system.overlap=true system.workers=auto",
        "net.residual=true net.hidden_shapes=[8] net.actor_hidden_shapes=[16,16]",
        f"{TWO} train.gradients=pcgrad sac.temperature_weights=true",
    ],
)
def test_fields_that_just_fit_are_accepted(fields: str) -> None:
    overridden(*fields.split())


@pytest.mark.parametrize(
    ("fields", "name"),
    [("env.name=MT10", "reach-v3"), (TWO, "MT2"), (f"{TWO} env.name=MT10-r_2.0+", "MT10-r_2.0+")],
)
def test_a_task_set_is_named_after_its_task_its_size_or_its_name(fields: str, name: str) -> None:
    assert overridden(*fields.split()).env.set_name == name


# --- the algorithm -------------------------------------------------------------------------------


@pytest.mark.parametrize("algo", ["td3", "SAC", None, ["sac"]], ids=str)
def test_a_configuration_for_another_algorithm_is_rejected(tmp_path: Path, algo: Any) -> None:
    message = error_of(checked, tree({"algo": algo}))
    assert "test.json: algo: " in message and "'sac'" in message
    if algo != "td3":  # a file cannot choose it either
        path = write(tmp_path / "config.json", tree({"algo": algo}))
        assert "algo: " in error_of(load, path, sections=BOTH)


def test_a_file_sets_its_algorithm_unless_overridden(tmp_path: Path) -> None:
    path = write(tmp_path / "config.json", tree({"algo": "td3"}))
    assert load(path, sections=BOTH).agent == OtherConfig()
    assert checked(tree({})).algo == checked(tree({"algo": "sac"})).algo == "sac"


def test_a_file_may_hold_sections_of_several_algorithms() -> None:
    both = tree({"sac.tau": 0.5, "td3.delay": 3})
    before = json.dumps(both)
    config = check(both, algo="sac", sections=BOTH, source="test.json")
    assert config.agent.tau == 0.5
    assert not hasattr(config, "td3")
    assert json.dumps(both) == before


def test_an_error_in_the_section_of_another_algorithm_is_found() -> None:
    both = tree({"td3.delai": 3})
    message = error_of(check, both, algo="sac", sections=BOTH, source="test.json")
    assert "td3.delai: unknown key; did you mean 'delay'?" in message
    assert "ppo: unknown key" in error_of(checked, tree({"ppo": {}}))


# --- files ---------------------------------------------------------------------------------------


def test_a_missing_file_is_reported_with_the_nearest_one(tmp_path: Path) -> None:
    write(tmp_path / "base_st.json", {})
    message = error_of(loaded, tmp_path / "base_sd.json")
    assert "base_sd.json: no such configuration; did you mean 'base_st.json'?" in message


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.txt", b"{}", "must end in .json, .yaml or .yml"),
        ("config.json", b"", "not valid JSON: Expecting value in line 1, column 1"),
        ("config.json", b"{}\n{}", "not valid JSON: Extra data in line 2, column 1"),
        ("config.json", b"\xff\xfe{}", "not valid JSON: "),
        ("config.json", b"[]", "must be an object"),
        ("config.json", b'{"sac": {"plr": NaN}}', "NaN is not a valid number"),
        ("config.json", b'{"sac": {"plr": 1, "plr": 1}}', "plr: duplicate key"),
        ("config.yml", b"sac: {plr: 1, 'plr': 1}", "plr: duplicate key"),
        ("config.yaml", b"1: 2", "the key 1.0 is not a string"),
        ("config.yaml", b"env: {tasks: {null: 2}}", "the key None is not a string"),
        ("config.yaml", b"a: &a [*a]", "more than 100000 values"),
        ("config.yaml", b"train: &t {train: *t}", "more than 100000 values"),
        ("config.yaml", b"a: b: c", "not valid YAML: "),
        ("config.yaml", b"--- {}\n--- {}", "not valid YAML: "),
        ("config.yaml", b"*a", "not valid YAML: "),
        ("config.yaml", b"\xff\xfe{}", "not valid YAML: "),
        ("config.yaml", b"5", "must be an object"),
    ],
)
def test_a_malformed_file_is_rejected(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    message = error_of(loaded, tmp_path / name)
    assert f"{name}: " in message and reason in message


def test_a_folder_is_not_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    assert "cannot be read" in error_of(loaded, tmp_path / "folder.json")


def test_yaml_aliases_are_allowed(tmp_path: Path) -> None:
    text = "env: {tasks: [reach-v3]}\ntrain: {eval_interval: &n 8, save_interval: *n}\n"
    train = loaded(write(tmp_path / "config.yaml", text)).train
    assert (train.eval_interval, train.save_interval) == (8, 8)


@pytest.mark.parametrize("depth", [100, 1000])
def test_a_tree_that_is_nested_too_deeply_is_rejected(tmp_path: Path, depth: int) -> None:
    sections = '{"train":' * depth + "1" + "}" * depth
    lists = '{"train":' + "[" * depth + "]" * depth + "}"
    error_of(overridden, f"train={sections}")
    error_of(overridden, f"{'.'.join(['train'] * depth)}=1")
    for suffix, text in ((".json", sections), (".json", lists), (".yaml", sections)):
        error_of(loaded, write(tmp_path / f"config{suffix}", text))


def test_a_mapping_may_hold_tuples_and_numpys_numbers_but_only_names() -> None:
    config = checked({"env": {"tasks": ("reach-v3",)}, "train": {"batch_size": np.int64(64)}})
    assert (config.env.tasks, config.train.batch_size) == (["reach-v3"], 64)
    assert "the key 3 is not a string" in error_of(checked, tree({}) | {3: 4})


# --- extends -------------------------------------------------------------------------------------


def test_extends_is_relative_to_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write(tmp_path / "base.json", tree({"train.batch_size": 8}))
    write(tmp_path / "sets" / "middle.yaml", {"extends": "../base.json"})  # JSON is YAML
    leaf = write(tmp_path / "sets" / "deep" / "leaf.json", {"extends": "../middle.yaml"})
    absolute = write(tmp_path / "sets" / "absolute.json", {"extends": str(base)})
    monkeypatch.chdir(tmp_path / "sets")
    for path in (leaf, Path("deep/leaf.json"), absolute):
        assert loaded(path).train.batch_size == 8


def test_the_extending_file_wins_field_by_field_and_an_override_always(tmp_path: Path) -> None:
    base = {"batch_size": 8, "opt_steps": 1, "num_epochs": 1}
    fields = {"train": base, "net.hidden_shapes": [400, 400], "sac.grad_clip": 1}
    write(tmp_path / "a.json", tree(fields))
    write(tmp_path / "b.json", {"extends": "a.json", "train": {"opt_steps": 2, "num_epochs": 2}})
    nearest = {"train.num_epochs": 3, "net.hidden_shapes": [8], "sac.grad_clip": None}
    path = write(tmp_path / "c.json", {"extends": "b.json"} | tree_of(nearest))

    config = loaded(path)

    train = config.train
    assert (train.batch_size, train.opt_steps, train.num_epochs) == (8, 2, 3)
    assert config.net.hidden_shapes == [8]  # a list is replaced whole
    assert config.agent.grad_clip is None
    assert loaded(path, "train.num_epochs=4").train.num_epochs == 4


@pytest.mark.parametrize("length", [1, 3])
def test_a_cycle_of_extends_is_rejected(tmp_path: Path, length: int) -> None:
    for index in range(length):
        following = f"../{tmp_path.name}/{(index + 1) % length}.json"
        write(tmp_path / f"{index}.json", {"extends": following})
    assert "0.json: extends itself" in error_of(loaded, tmp_path / "0.json")


def test_an_error_in_an_extended_file_names_that_file(tmp_path: Path) -> None:
    write(tmp_path / "base.json", "{")
    leaf = write(tmp_path / "leaf.json", {"extends": "base.json"})
    message = error_of(loaded, leaf)
    assert "base.json: not valid JSON" in message and message.endswith("leaf.json extends it")


@pytest.mark.parametrize("value", [5, [], "", "a\0b.json", "x" * 5000])
def test_extends_must_be_a_path(tmp_path: Path, value: Any) -> None:
    message = error_of(loaded, write(tmp_path / "config.json", {"extends": value}))
    assert isinstance(value, str) or "extends: must be a path" in message


# --- overrides -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["a", "", "=1", "a..b=1"])
def test_an_override_without_a_key_or_a_value_is_rejected(text: str) -> None:
    message = error_of(overridden, text)
    assert f"--set {text}".strip() in message
    assert "section.key=value" in message


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("env=null", "env"),
        ("env.tasks=[reach-v3]", "env.tasks"),
        ("env.tasks.x.y=1", "env.tasks"),  # only sections have keys
        ("sac.plr.x=1", "sac.plr"),
        ("algo.x=1", "algo"),
        ("algo=td3", "algo"),
        ("extends=base.json", "extends"),
        ("train.batch_size=", "train.batch_size"),
        ('sac={"plr": 1, "plr": 1}', "plr"),
        ("train.a\nb=1", "train.a\\nb"),
        ("transfer=[]", "transfer"),
    ],
)
def test_the_error_of_an_invalid_override_names_its_key(override: str, key: str) -> None:
    assert f"{key}: " in error_of(overridden, override)


# --- the reference -------------------------------------------------------------------------------


def test_the_reference_has_type_default_and_description_of_every_field() -> None:
    fields = {key: rest for key, *rest in reference(model("sac", SECTIONS))}
    values = flat(overridden("transfer={}").model_dump()) | {"transfer.task_map": {}}
    del values["curriculum"]  # the reference has its fields instead
    assert {key for key in fields if not key.startswith("curriculum.")} == values.keys()
    for key, (kind, default, text) in fields.items():
        assert kind not in ("", "any value"), key
        assert text and "\n" not in text, key
        if key in values and key not in ("algo", "env.tasks"):
            assert json.loads(default) == values[key], key
