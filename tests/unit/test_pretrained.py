"""Shipped policies perform as their model cards say, and exported policies can be played."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import error_of
from tiny_runs import run_starter, train

from torchrl_lite.checkpoint.store import weights_of
from torchrl_lite.policies import export
from torchrl_lite.policies import file as policy_file
from torchrl_lite.policies import shipped as pretrained
from torchrl_lite.policies.evaluate import TaskSummary, evaluate, summary
from torchrl_lite.policies.load import load_policy

SHIPPED = pretrained.names()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_model_card_matches_its_file_and_the_file_is_small(name: str) -> None:
    path = pretrained.find(name)
    assert path.stat().st_size < 2_000_000
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    file = policy_file.read(path)
    assert card == export.card(name, file.header, source=f"--pretrained {name}")
    for one in file.header.evaluation:
        assert len(one.returns) == 50
        assert f"| {np.mean(one.returns):.1f} |" in card
        if file.config.env.suite == "metaworld":
            assert np.mean(one.successes) >= 0.9  # only solved tasks ship
            assert f"| {np.mean(one.successes):.2f} |" in card


@pytest.mark.parametrize(
    ("name", "episodes", "failures"),
    [
        ("mt3_easy", 2, 1),
        ("HalfCheetah-v5", 2, 1),
        *(pytest.param(name, 50, 2, marks=pytest.mark.slow) for name in SHIPPED),
    ],
)
def test_a_shipped_policy_matches_its_card(name: str, episodes: int, failures: int) -> None:
    """On the same episodes. Machines round differently and locomotion is chaotic, so only the means
    are close, and a few more episodes may fail."""
    policy = load_policy(pretrained.find(name))
    goals = policy.config.env.suite == "metaworld"
    picks = [number * 50 // episodes for number in range(episodes)] if goals else range(episodes)
    recorded = policy_file.read(pretrained.find(name)).header.evaluation
    results, _ = evaluate(policy, episodes=episodes, seed=policy.seed)
    for mine, theirs in zip(results, recorded, strict=True):
        returns = [theirs.returns[j] for j in picks]
        assert np.mean(mine.returns) == pytest.approx(np.mean(returns), rel=0.05)
        if goals:
            assert sum(mine.successes) >= sum(theirs.successes[j] for j in picks) - failures


def test_confidence_intervals_match_the_textbook() -> None:
    """Bootstrap against the normal approximation for many returns, Wilson against its formula."""
    returns = np.random.default_rng(1).gamma(2.0, 100.0, 400)
    hits = returns > 150
    episodes = {"returns": returns.tolist(), "lengths": [1, 3] * 200, "successes": hits.tolist()}
    one = summary(policy_file.TaskEvaluation(task="x", **episodes))
    assert one.length == 2
    half = 1.96 * returns.std(ddof=1) / 20
    bounds = returns.mean() - half, returns.mean() + half
    assert (one.ret_low, one.ret_high) == pytest.approx(bounds, abs=0.15 * half)
    z, n, p = 1.959964, 400, hits.mean()
    center, spread = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    expected = [(center + sign * spread) / (1 + z * z / n) for sign in (-1, 1)]
    assert (one.low, one.high) == pytest.approx(expected, abs=1e-6)


def test_a_single_episode_has_no_confidence_interval() -> None:
    single = policy_file.TaskEvaluation(task="x", returns=[3.0], lengths=[5], successes=[None])
    one = summary(single)
    assert one == TaskSummary("x", 1, None, None, None, 3.0, None, None, 5.0)
    header = policy_file.read(pretrained.find("drawer-close-v3")).header
    text = export.card("x", header.model_copy(update={"evaluation": [single]}), source="")
    assert "\n| x | 1 |  |  | 3.0 |  |\n" in text


def test_card_commands_trust_the_environments_package() -> None:
    header = policy_file.read(pretrained.find("HalfCheetah-v5")).header
    config = header.config | {"env": header.config["env"] | {"imports": ["their_package"]}}
    text = export.card("x", header.model_copy(update={"config": config}), source="--checkpoint x")
    assert text.count("torchrl-lite play --checkpoint x --trust_imports ") == 2


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log_dir = tmp_path_factory.mktemp("pretrained")
    flags = ("--task", "drawer-close-v3", "--seed", 4)
    return train(log_dir, *flags, env__group_size=2, train__eval_interval=2)


def test_an_exported_policy_is_the_one_that_was_evaluated(run: Path, tmp_path: Path) -> None:
    out, json_path = tmp_path / "new" / "mine-v1.0", tmp_path / "figures.json"
    flags = ("--run", run, "--episodes", 5, "--export", out, "--json", json_path, "--workers", 0)
    assert run_starter("play", *flags) == 0
    path = tmp_path / "new" / "mine-v1.0.safetensors"
    file = policy_file.read(path)
    assert (file.header.frames, file.header.seed) == (20, 4)  # of the best weights
    assert "torch" in file.header.versions and "platform" not in file.header.versions
    (one,), (played,) = file.header.evaluation, json.loads(json_path.read_text())["tasks"]
    assert np.mean(one.returns) == pytest.approx(played["ret"], rel=1e-12)
    policy = load_policy(path)
    again, _ = evaluate(policy, [0], episodes=5, seed=policy.seed, workers=0)
    assert again == file.header.evaluation
    card = (tmp_path / "new" / "mine-v1.0.md").read_text()
    source = "--checkpoint mine-v1.0.safetensors"  # not a shipped policy
    assert card == export.card("mine-v1.0", file.header, source=source)
    assert f"torchrl-lite play {source} --episodes 5\n" in card
    assert "torchrl-lite train sac --config params.json --seed 4 --until 20\n" in card
    config = json.loads(card.split("```json\n")[1].split("```")[0])
    assert config == json.loads((run / "params.json").read_text())


def test_an_unknown_name_lists_the_available_policies(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    assert error_of(pretrained.find, "mine").endswith("'mine' does not exist; available: none")
    for name in ("mine", "other"):
        (tmp_path / f"{name}.safetensors").write_bytes((run / "policy.safetensors").read_bytes())
    assert pretrained.find("mine") == tmp_path / "mine.safetensors"
    message = error_of(pretrained.find, "mime")
    assert "'mime' does not exist; available: mine, other; did you mean 'mine'?" in message
    assert "does not exist" in error_of(pretrained.find, "../mine")


def test_only_weights_of_a_run_are_exported(run: Path, tmp_path: Path) -> None:
    (tmp_path / "loose.pt").write_bytes(weights_of(run).read_bytes())
    policy = load_policy(tmp_path / "loose.pt")
    assert policy.seed == 1  # the default, not the run's
    message = error_of(export.export, tmp_path / "x", policy, [])
    assert "--export: needs a policy from a run" in message
    assert [path.name for path in tmp_path.iterdir()] == ["loose.pt"]


def test_a_card_has_a_total_where_a_run_was_to_go_on() -> None:
    """A curriculum collects fewer frames in some stages."""
    header = policy_file.read(pretrained.find("MT10")).header
    early = header.model_copy(update={"frames": 5})
    staged = early.model_copy(update={"config": header.config | {"curriculum": {"kind": "mixed"}}})
    texts = [export.card("x", one, source="") for one in (early, staged, header)]
    assert ["SAC, 5 of 10,000,000 frames" in text for text in texts] == [True, False, False]
