"""Hidden and held-out goals are those of ``metaworld.ML1``; sparse rewards are its success."""

import json
import pickle
from pathlib import Path
from typing import Any

import metaworld
import numpy as np
import pytest
from stock import SEED, assert_same_episode, expert_actions, random_actions, stock_env
from tiny_runs import one_line, result_of, run_starter, train

from torchrl_lite.env.goals import HELD_OUT
from torchrl_lite.env.make import make_env
from torchrl_lite.policies import file as policy_file
from torchrl_lite.policies.evaluate import evaluate, goal_numbers
from torchrl_lite.policies.load import load_policy

pytestmark = pytest.mark.filterwarnings("ignore:Constant:UserWarning")


@pytest.fixture(scope="module")
def ml1() -> metaworld.ML1:
    return metaworld.ML1("reach-v3", seed=SEED)


@pytest.mark.parametrize("fast", [True, False])
def test_a_hidden_goal_matches_ml1(fast: bool, ml1: metaworld.ML1) -> None:
    """Observations, rewards and bounds, on training goals and on held-out goals."""
    env = make_env("metaworld", "reach-v3", seed=SEED, hide_goal=True, fast=fast)
    for number, goal in ((7, ml1.train_tasks[7]), (HELD_OUT[5], ml1.test_tasks[5])):
        stock = stock_env("reach-v3", goal)
        steps = assert_same_episode(env, stock, number, random_actions(60))
        assert env.observation_space == stock.sawyer_observation_space
        assert not any(obs[36:].any() for obs, *_ in steps)


def test_held_out_goals_are_the_test_goals_of_ml1_and_can_be_observed(ml1: metaworld.ML1) -> None:
    vectors = [pickle.loads(one.data)["rand_vec"] for one in ml1.test_tasks]
    env = make_env("metaworld", "reach-v3", seed=SEED, num_goals=2)
    for vector, number in zip(vectors[:3], HELD_OUT, strict=False):
        assert env.reset(seed=0, options={"goal": number})[0][36:] == pytest.approx(vector[-3:])
    for number in (2, 49, 100, -1):
        with pytest.raises(ValueError, match=f"goal {number} is not an index"):
            env.reset(seed=0, options={"goal": number})


def test_a_sparse_reward_is_stock_metaworlds_success() -> None:
    task, rewards = "drawer-close-v3", set()
    stock, env = stock_env(task, 2), make_env("metaworld", task, seed=SEED, reward="sparse")
    stock.reset()
    env.reset(seed=0, options={"goal": 2})
    for action in expert_actions(task, 2, 150):
        reward = env.step(action)[1]
        assert type(reward) is float and reward == float(stock.step(action)[4]["success"])
        rewards.add(reward)
    assert rewards == {0.0, 1.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with hidden goals."""
    changes = {"env__num_goals": 6, "env__hide_goal": True, "train__final_eval_episodes": 3}
    return train(tmp_path_factory.mktemp("goals"), "--task", "reach-v3", **changes)


def test_the_result_and_the_policy_file_report_held_out_goals(run: Path) -> None:
    result, policy = result_of(run), load_policy(run / "policy.safetensors")
    (measured,), _ = evaluate(policy, episodes=3, goals="held_out")
    assert result["held_out/return"] == pytest.approx(np.mean(measured.returns))
    assert result["held_out_return/reach-v3"] == result["held_out/return"]
    assert result["held_out/success_rate"] == np.mean(measured.successes)
    assert policy_file.read(run / "policy.safetensors").header.held_out == [measured]
    assert policy.config.env.hide_goal


def test_play_takes_its_goals_from_the_flag(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A single goal is one episode, the same as in a whole evaluation."""
    policy = load_policy(run / "policy.safetensors")
    returns, out = {}, tmp_path / "figures.json"
    flags = ("--checkpoint", run / "policy.safetensors", "--workers", 0, "--json", out)
    for goals_flag, episodes in (("train", 6), ("held_out", 2), (3, 1)):
        more = () if goals_flag != "held_out" else ("--episodes", episodes)
        assert run_starter("play", *flags, *more, "--goals", goals_flag) == 0
        shown, figures = capsys.readouterr().out, json.loads(out.read_text())
        assert f"30 frames, {figures['frames_per_second']:,.0f} frames/s" in shown
        (one,) = figures["tasks"]
        (measured,), _ = evaluate(policy, episodes=episodes, goals=goals_flag)
        assert (one["episodes"], one["ret"]) == (episodes, pytest.approx(np.mean(measured.returns)))
        returns[goals_flag] = one["ret"]
    assert len({*returns.values()}) == 3
    assert run_starter("play", *flags, "--seed", 0) == 0
    assert json.loads(out.read_text())["tasks"][0]["ret"] != returns["train"]
    assert goal_numbers(policy, 3) == range(3, 4)


@pytest.mark.parametrize(("goals", "number"), [("train", 0), ("held_out", 50), (3, 3)])
def test_play_shows_the_first_of_the_goals(
    run: Path, goals: object, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []
    film = "torchrl_lite.policies.film"
    monkeypatch.setattr(f"{film}.check_window", lambda *_, **__: None)
    monkeypatch.setattr(f"{film}.watch", lambda replay, **_: shown.append(replay.goal))
    flags = ("--checkpoint", run / "policy.safetensors", "--workers", 0, "--episodes", 1)
    assert run_starter("play", *flags, "--goals", goals, "--render", "human") == 0
    assert shown == [number]


def test_a_model_card_reports_held_out_goals(run: Path, tmp_path: Path) -> None:
    flags = ("--run", run, "--episodes", 2, "--workers", 0, "--export", tmp_path / "p")
    assert run_starter("play", *flags) == 0
    trained_on, held_out = (tmp_path / "p.md").read_text().split("never trained on")
    assert "| reach-v3 | 2 |" in trained_on and "| reach-v3 | 2 |" in held_out
    header = policy_file.read(tmp_path / "p.safetensors").header
    (held_out_evaluation,), (train_evaluation,) = header.held_out, header.evaluation
    assert held_out_evaluation.returns != train_evaluation.returns


def test_an_onnx_model_needs_no_episodes_on_held_out_goals(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: list[Any] = []

    def spied(*args: Any, goals: Any, **options: Any) -> Any:
        played.append(goals)
        return evaluate(*args, goals=goals, **options)

    monkeypatch.setattr("torchrl_lite.policies.evaluate.evaluate", spied)
    for function in ("check_onnx", "write"):  # which need an extra that may not be installed
        monkeypatch.setattr(f"torchrl_lite.policies.onnx.{function}", lambda *_: None)
    flags = ("--run", run, "--episodes", 1, "--workers", 0, "--export", tmp_path / "p.onnx")
    assert run_starter("play", *flags) == 0
    assert played == ["train"]


@pytest.mark.parametrize("wrong", ["held-out", "6"])
def test_unknown_goals_are_a_one_line_error(
    run: Path, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_starter("play", "--run", run, f"--goals={wrong}") == 2
    hint = "did you mean 'held_out'" if wrong == "held-out" else "0 to 5"
    one_line(capsys.readouterr().err, "--goals", wrong, hint)


def test_only_metaworld_has_goals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(tmp_path, "--config", "mujoco/pendulum", train__num_epochs=0)
    assert not [key for key in result_of(run) if key.startswith("held_out")]
    capsys.readouterr()
    for starter in (["play", "--goals", "held_out", "--run"], ["diagnose", "--goals"]):
        assert run_starter(*starter, run) == 2
        one_line(capsys.readouterr().err, "--goals")
