"""Weights from foreign files compute the same here, and loading them executes no code."""

import base64
import contextlib
import math
import pickle
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import (
    FULL,
    Payload,
    damaged,
    error_of,
    make_learner,
    make_spec,
    random_batch,
    random_noise,
)
from resume.attempt import write_zip
from torch import nn

from torchrl_lite.checkpoint import files
from torchrl_lite.errors import UserError
from torchrl_lite.policies.shipped import find
from torchrl_lite.policies.sources import read_source
from torchrl_lite.transfer.start import load_weights

HIDDEN = (16, 12)
SPEC = make_spec()
OBS = torch.randn(20, SPEC.obs_dim, generator=torch.Generator().manual_seed(0))
TASK = torch.tensor([0])


def sequential(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size_in, size_out in pairwise(sizes):
        layers += [nn.Linear(size_in, size_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


# --- plain files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("algo", ["sac", "td3", "ddpg"])
def test_a_cloned_policy_acts_the_same(algo: str, tmp_path: Path) -> None:
    """Behaviour cloning saves a network of the mean action before its tanh."""
    net = sequential(SPEC.obs_dim, *HIDDEN, SPEC.act_dim)
    torch.save(net.state_dict(), tmp_path / "clone.pt")
    learner = make_learner(algo, SPEC, hidden=HIDDEN)
    report = load_weights(learner, read_source(tmp_path / "clone.pt"))
    with torch.no_grad():
        torch.testing.assert_close(learner.actor.act(OBS[None], TASK)[0], net(OBS).tanh())
    assert (len(report.loaded), report.skipped, report.mismatched) == (6, [], [])
    if algo != "sac":  # the target starts as a copy of the actor
        target = learner.target_actor.state_dict()
        assert all(torch.equal(v, target[k]) for k, v in learner.actor.state_dict().items())


@pytest.mark.parametrize("heads", ["one", "two", "two, log_std first"])
def test_mean_and_log_std_may_be_one_head_or_two(heads: str, tmp_path: Path) -> None:
    trunk = sequential(SPEC.obs_dim, *HIDDEN, 1)[:-1]
    mean, log_std = (nn.Linear(HIDDEN[-1], SPEC.act_dim) for _ in range(2))
    saved = nn.ModuleDict({"trunk": trunk, "mean": mean, "log_std": log_std}).state_dict()
    if heads.endswith("first"):  # a state_dict has the order of the constructor
        saved = nn.ModuleDict({"trunk": trunk, "log_std": log_std, "mean": mean}).state_dict()
    if heads == "one":
        both = zip(mean.parameters(), log_std.parameters(), strict=True)
        weight, bias = (torch.cat(pair).detach() for pair in both)
        saved = trunk.state_dict() | {"head.weight": weight, "head.bias": bias}
    torch.save(saved, tmp_path / "policy.pt")
    learner = make_learner("sac", SPEC, hidden=HIDDEN)
    load_weights(learner, read_source(tmp_path / "policy.pt"))
    ours = learner.actor(OBS[None], TASK)
    torch.testing.assert_close(ours[0][0], mean(trunk(OBS)))
    torch.testing.assert_close(ours[1][0], log_std(trunk(OBS)).clamp(-20, 2))


@pytest.mark.parametrize("form", ["actor", "learner", "last"])
def test_our_own_weights_load_completely(form: str, tmp_path: Path) -> None:
    source, learner = (make_learner("td3", SPEC, seed=seed) for seed in (1, 2))
    networks = source.state_dict()
    state = {
        "actor": source.actor.state_dict(),
        "learner": networks,
        "last": {"learner": {"networks": networks, "updates": 1}, "epoch": 3},
    }[form]
    files.save(tmp_path / "weights.pt", dict(state))
    report = load_weights(learner, read_source(tmp_path / "weights.pt"))
    assert len(report.loaded) == len(source.actor.state_dict())
    for name, value in source.actor.state_dict().items():
        assert torch.equal(learner.actor.state_dict()[name], value)
    assert not torch.equal(learner.critic.body.head.weight, source.critic.body.head.weight)


def test_a_run_directory_loads_its_best_weights(tmp_path: Path) -> None:
    best, last = (make_learner("sac", SPEC, seed=seed) for seed in (1, 2))
    folder = tmp_path / "checkpoint"
    files.save(folder / "last_10.pt", {"learner": {"networks": last.state_dict()}})
    files.save(folder / "last_9.pt", {"learner": {"networks": best.state_dict()}})
    head = "body.head.weight"
    assert torch.equal(read_source(tmp_path).parts["actor"][head], last.actor.state_dict()[head])
    files.save(folder / "best.pt", {"networks": best.state_dict()})
    assert torch.equal(read_source(tmp_path).parts["actor"][head], best.actor.state_dict()[head])


def test_matching_tensors_are_loaded_and_the_rest_is_reported(tmp_path: Path) -> None:
    """From a deeper network with another observation size."""
    other = sequential(SPEC.obs_dim + 1, *HIDDEN, 12, SPEC.act_dim)
    constants = {"action_scale": torch.ones(2), "actor_logstd": torch.zeros(1, 2)}
    torch.save(other.state_dict() | constants, tmp_path / "other.pt")
    learner = make_learner("td3", SPEC, hidden=HIDDEN)
    before = learner.actor.body.trunk.layers[0].weight.clone()
    report = load_weights(learner, read_source(tmp_path / "other.pt"))
    trunk = "actor.body.trunk.layers"
    sizes = "[1, 1, 6, 16] in the file, [1, 1, 5, 16] here"
    assert report.mismatched == [f"{trunk}.0.weight ({sizes})"]
    assert report.skipped == [f"{trunk}.2.bias", f"{trunk}.2.weight"]
    assert f"{trunk}.0.bias" in report.loaded
    assert torch.equal(learner.actor.body.trunk.layers[0].weight, before)
    assert torch.equal(learner.actor.body.head.weight[0, 0].T, other[6].weight)


# --- invalid files --------------------------------------------------------------------------------


TWO_LAYERS = {
    "actor.mu.0.weight": torch.ones(3, 5),
    "actor.mu.0.bias": torch.zeros(3),
    "actor.mu.2.weight": torch.ones(2, 3),
    "actor.mu.2.bias": torch.zeros(2),
}
"""An actor with the names of Stable-Baselines3."""


def two_layers(path: Path) -> Path:
    """As torch or as Stable-Baselines3 saves them."""
    if path.suffix == ".zip":
        write_zip(path, {}, TWO_LAYERS)
    else:
        torch.save(TWO_LAYERS, path)
    return path


def test_nothing_in_a_zip_is_executed(tmp_path: Path) -> None:
    """Neither its weights nor the pickles in its JSON; test_checkpoint has the other files."""
    mark, path = tmp_path / "mark", tmp_path / "sb3.zip"
    write_zip(path, {}, {"0.weight": Payload(mark)})
    assert "sb3.zip" in error_of(read_source, path)
    text = base64.b64encode(pickle.dumps(Payload(mark))).decode()
    write_zip(path, {"policy_kwargs": {":serialized:": text}}, TWO_LAYERS)
    read_source(path)
    assert not mark.exists()


def test_a_zip_with_paths_outside_itself_or_a_bomb_is_rejected(tmp_path: Path) -> None:
    """Before anything is unpacked."""
    path = tmp_path / "sb3.zip"
    for name in ("../out.txt", "/etc/out.txt", "a/../../out.txt", "..\\out.txt"):
        write_zip(path, {}, {})
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, b"x")
        assert "outside the archive" in error_of(read_source, path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("policy.pth", bytes(20_000_000))
    assert "more than its own size" in error_of(read_source, path)


@pytest.mark.parametrize(
    ("state", "needle"),
    [
        ({"networks": {}}, "no weights"),
        ({"a": torch.zeros(2)}, "no linear layers"),
        (
            nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.Linear(8, 2)).state_dict(),
            "1.bias is not of a linear layer",
        ),
        (sequential(5, 8, 2).state_dict() | {"obs_std": torch.ones(5)}, "obs_std is not of a"),
        (sequential(5, 8, 2).state_dict() | {"9.weight": torch.zeros(3, 4)}, "do not fit"),
        ({"networks": {0: torch.zeros(2)}}, "0 is not a named tensor"),
        ({"learner": 3}, "'learner' is not a named tensor"),
    ],
)
def test_a_file_without_weights_is_rejected(state: Any, needle: str, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "file.pt")
    message = error_of(read_source, tmp_path / "file.pt")
    assert message.startswith(f"--init_from: {tmp_path / 'file.pt'}: ") and needle in message


def test_invalid_fields_of_a_checkpoint_are_rejected(tmp_path: Path) -> None:
    """At once, and not only when the result is written."""
    path = tmp_path / "best.pt"
    head = {"frames": 7, "config": {"env": {"tasks": ["reach"]}}, "shapes": {"reach": [5, 2]}}
    state = {"networks": make_learner("td3", SPEC).state_dict(), "origin": [], **head}
    files.save(path, state)
    read_source(path)
    for change in (
        {"origin": [{"path": torch.zeros(2)}]}, {"origin": [math.nan]}, {"origin": {"path": "x"}},
        {"frames": "many"}, {"shapes": {"reach": [3]}}, {"config": {"env": 3}},
    ):  # fmt: skip
        files.save(path, state | change)
        assert "not written by a run (" in error_of(read_source, path)


def test_tensors_that_form_no_network_are_rejected(tmp_path: Path) -> None:
    weight, bias = torch.zeros(2, 5), torch.tensor(0.0)  # a scalar bias
    heads = {"mean.weight": weight, "mean.bias": bias, "std.weight": weight, "std.bias": bias}
    torch.save(heads, tmp_path / "heads.pt")
    assert "form no network" in error_of(read_source, tmp_path / "heads.pt")

    embedding = {f"body.trunk.embedding.{n}": torch.zeros(1, 3, 4) for n in ("rows", "weight")}
    first = {f"body.trunk.layers.0.{n}": torch.zeros(1, 1, 5) for n in ("weight", "bias")}
    torch.save(embedding | first, tmp_path / "embedding.pt")
    source = read_source(tmp_path / "embedding.pt")
    assert "do not form a network" in error_of(load_weights, make_learner("td3", SPEC), source)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", ["torch.pt", "sb3.zip"])
def test_a_damaged_file_is_rejected_or_harmless(form: str, tmp_path: Path) -> None:
    path = two_layers(tmp_path / form)
    read_source(path)
    for broken in damaged(path.read_bytes()):
        path.write_bytes(broken)
        with contextlib.suppress(UserError):
            read_source(path)


@pytest.mark.parametrize("form", ["torch.pt", "sb3.zip"])
def test_a_foreign_file_does_not_fit_a_network_with_layer_norm(form: str, tmp_path: Path) -> None:
    source, net = read_source(two_layers(tmp_path / form)), {"hidden_shapes": [3]}
    assert load_weights(make_learner("td3", SPEC, net=net), source).loaded
    normed = make_learner("td3", SPEC, net=net | {"norm": "layer"})
    assert 'set net.norm="none"' in error_of(load_weights, normed, source)


def test_a_path_without_weights_is_rejected(tmp_path: Path) -> None:
    assert "not a run directory" in error_of(read_source, tmp_path)
    (tmp_path / "actor.pt").touch()
    assert "did you mean 'actor.pt'?" in error_of(read_source, tmp_path / "acter.pt")
    shipped = f"did you mean {find('push-v3')}?"
    assert shipped in error_of(read_source, tmp_path / "push-v3")


def test_updates_continue_from_loaded_weights(tmp_path: Path) -> None:
    """Loading copies into the tensors that the optimisers hold."""
    learner = make_learner("sac", SPEC, hidden=HIDDEN)
    torch.save(sequential(5, *HIDDEN, 2).state_dict(), tmp_path / "clone.pt")
    load_weights(learner, read_source(tmp_path / "clone.pt"))
    before = learner.actor.body.head.weight.clone()
    batch = random_batch(SPEC, dtype=torch.float32)
    learner.update(batch, random_noise(batch), FULL)
    assert not torch.equal(learner.actor.body.head.weight, before)
