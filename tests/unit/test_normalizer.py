"""Observation normalisation: numpy's statistics in all networks, frozen in evaluation."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import make_learner, make_spec, padded_spec, random_batch, random_block
from tiny_runs import (
    ROOT,
    assert_same_bits,
    assert_same_run,
    one_line,
    result_of,
    short,
    state_of,
    train,
)

from torchrl_lite.command.launch import main
from torchrl_lite.network.normalizer import ObsNormalizer
from torchrl_lite.policies.evaluate import evaluate
from torchrl_lite.policies.load import load_policy

ON = {"normalize_obs": True}
TASKS = ["drawer-close-v3", "reach-v3"]


def blocks(spec: Any, count: int, *, copies: int = 2) -> list[Any]:
    """Epochs of different lengths; observations far from 0, with very different scales."""
    made = [random_block(spec, 5 + 7 * index, copies, seed=index) for index in range(count)]
    for block in made:
        block.obs.mul_(torch.logspace(-3, 3, spec.obs_dim)).add_(1000.0)
    return made


@pytest.mark.parametrize(("algo", "networks"), [("sac", 3), ("td3", 4)])
def test_every_network_normalises_with_numpys_statistics(algo: str, networks: int) -> None:
    """A learner without normalisation predicts the same from normalised observations."""
    spec = make_spec(2)
    ours, plain = (make_learner(algo, spec, net=net, dtype=torch.float64) for net in (ON, {}))
    collected = blocks(spec, 4)
    for block in collected:
        ours.observe(block, [0, 1])
        plain.observe(block, [0, 1])
    seen = torch.cat([block.obs.flatten(1, 2) for block in collected], 1).double().numpy()
    mean, var = seen.mean(1), seen.var(1)
    found = [one for one in ours.modules() if isinstance(one, ObsNormalizer)]
    assert len(found) == networks
    for one in found:
        assert one.count.flatten().tolist() == [2 * (5 + 12 + 19 + 26)] * 2
        np.testing.assert_allclose(one.mean[0], mean, rtol=1e-13)
        np.testing.assert_allclose(one.var[0], var, rtol=1e-9)

    newest = seen[:, -32:]
    obs, batch = torch.from_numpy(newest), random_batch(spec)
    normalised = torch.from_numpy((newest - mean[:, None]) / np.sqrt(var[:, None] + 1e-8))
    assert 1 < normalised.abs().max() < 10
    task, act = batch.task, batch.act
    for mine, expected in (
        (ours.actor.act(obs, task), plain.actor.act(normalised, task)),
        (ours.critic(obs, act, task), plain.critic(normalised, act, task)),
        (ours.target(obs, act, task), plain.target(normalised, act, task)),
    ):
        torch.testing.assert_close(mine, expected, rtol=1e-9, atol=1e-9)


def test_unseen_entries_are_unchanged_and_outliers_are_clipped() -> None:
    spec = padded_spec([5, 3], [2, 2])
    learner = make_learner("sac", spec, net=ON)
    raw, task = torch.full((2, 1, 5), 3.0), torch.tensor([0, 1])
    raw[1, :, 3:] = 0
    normalizer = learner.actor.normalizer
    torch.testing.assert_close(normalizer(raw, task), raw, rtol=1e-7, atol=0)
    block = random_block(spec, 9)
    block.obs[1, ..., 3:], block.obs[..., 1] = 0, 3.0  # padding, and a constant entry
    learner.observe(block, [0, 1])
    assert normalizer(raw, task)[:, 0, 1].tolist() == [0, 0]
    raw[0, 0, 1] += 0.01
    assert normalizer(raw, task)[0, 0, 1] == 10
    assert normalizer(raw, task)[1, 0, 3:].tolist() == [0, 0]


def test_statistics_of_a_task_that_does_not_train_stay_fixed() -> None:
    spec = make_spec(3)
    learner = make_learner("td3", spec, net=ON, dtype=torch.float64)
    first, second = blocks(spec, 2)
    learner.observe(first, [0, 1, 2])
    before = {name: one.clone() for name, one in learner.state_dict().items()}
    learner.observe(second, [0, 2])
    for name, one in learner.state_dict().items():
        if "normalizer" in name:
            assert torch.equal(one[:, 1], before[name][:, 1])
            assert not torch.equal(one[:, [0, 2]], before[name][:, [0, 2]])
        else:
            assert torch.equal(one, before[name])


# --- runs ----------------------------------------------------------------------------------------

CHANGES: dict[str, Any] = {
    "env__tasks": TASKS,
    "env__num_envs": 2,
    "net__normalize_obs": True,
    "train__eval_interval": 3,
}
CONFIG = ("--config", ROOT / "config" / "mt10.json")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of two tasks."""
    return train(tmp_path_factory.mktemp("normalised"), *CONFIG, many=True, **CHANGES)


def test_a_run_and_its_policy_have_the_statistics_of_the_collected_data(whole: Path) -> None:
    """Evaluation, which visits other states, does not change them."""
    state, policy = state_of(whole), load_policy(whole / "policy.safetensors")
    networks = state["learner"]["networks"]
    for task, rows in enumerate(state["buffer"]["data"]):
        seen = rows[:, :39].double().numpy()
        mean, var = (networks[f"actor.body.normalizer.{name}"][0, task] for name in ("mean", "var"))
        np.testing.assert_allclose(mean, seen.mean(0), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(var, seen.var(0), rtol=1e-9, atol=1e-15)
    mine = policy.actor.normalizer
    assert mine is not None
    before = {name: one.clone() for name, one in mine.state_dict().items()}
    assert_same_bits(before["mean"], networks["actor.body.normalizer.mean"])
    measured, _ = evaluate(policy, episodes=2)
    assert np.mean([one.returns for one in measured]) == pytest.approx(
        result_of(whole)["eval/return"]
    )
    assert_same_bits(dict(mine.state_dict()), before)
    best = load_policy(whole)
    assert torch.equal(best.actor.normalizer.mean, before["mean"])  # type: ignore[union-attr]


def test_it_resumes_bit_identically_with_a_worker(whole: Path, tmp_path: Path) -> None:
    parts = short(tmp_path, *CONFIG, **CHANGES)
    assert main("sac", [*parts, "--until", "40"], multi_task=True) == 0
    more = ["--resume", "--set", "system.workers=1"]
    assert main("sac", [*parts, *more], multi_task=True) == 0
    folder = tmp_path / "x" / whole.parent.name / "1"
    shutil.copy(whole / "params.json", folder)  # it differs in the number of workers
    assert_same_run(folder, whole)


def test_weights_are_transferred_with_their_statistics(whole: Path, tmp_path: Path) -> None:
    """Task by task, to all networks."""
    flags = ("--task", "reach-v3", "--init_from", whole)
    small = {"net__hidden_shapes": [8], "train__num_epochs": 0, "train__pretrain_epochs": 0}
    run = train(tmp_path / "one", *flags, net__normalize_obs=True, **small)
    networks, theirs = state_of(run)["learner"]["networks"], state_of(whole)["learner"]["networks"]
    for part in ("actor", "critic", "target"):
        for name in ("count", "mean", "var"):
            mine = networks[f"{part}.body.normalizer.{name}"][:, 0]
            assert torch.equal(mine, theirs[f"actor.body.normalizer.{name}"][:, 1])


@pytest.mark.parametrize("on", [True, False])
def test_weights_with_other_normalisation_are_rejected(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], on: bool
) -> None:
    source = train(tmp_path / "raw", "--task", "reach-v3") if on else whole
    capsys.readouterr()
    flags = ("--task", "reach-v3", "--init_from", source)
    assert main("sac", short(tmp_path / "new", *flags, net__normalize_obs=on)) == 2
    one_line(capsys.readouterr().err, "--init_from", f"net.normalize_obs={str(not on).lower()}")
