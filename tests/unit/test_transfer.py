"""Weights from foreign files compute the same here, and loading them executes no code."""

import base64
import contextlib
import io
import json
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
from torch import nn

from torchrl_lite.checkpoint import files
from torchrl_lite.errors import UserError
from torchrl_lite.policies.sources import read_source
from torchrl_lite.transfer.start import load_weights

HIDDEN = (16, 12)
SPEC = make_spec()


def sequential(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size_in, size_out in pairwise(sizes):
        layers += [nn.Linear(size_in, size_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def observations() -> torch.Tensor:
    return torch.randn(20, SPEC.obs_dim, generator=torch.Generator().manual_seed(0))


def deterministic_actions(learner: Any, obs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return learner.actor.act(obs[None], torch.tensor([0]))[0]


# --- plain files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("algo", ["sac", "td3", "ddpg"])
def test_a_cloned_policy_acts_the_same(algo: str, tmp_path: Path) -> None:
    """Behaviour cloning saves a network of the mean action before its tanh."""
    net = sequential(SPEC.obs_dim, *HIDDEN, SPEC.act_dim)
    torch.save(net.state_dict(), tmp_path / "clone.pt")
    learner = make_learner(algo, SPEC, hidden=HIDDEN)

    report = load_weights(learner, read_source(tmp_path / "clone.pt"))

    obs = observations()
    with torch.no_grad():
        torch.testing.assert_close(deterministic_actions(learner, obs), net(obs).tanh())
    assert (len(report.loaded), report.skipped, report.mismatched) == (6, [], [])
    if algo != "sac":  # the target starts as a copy of the actor
        target = learner.target_actor.state_dict()
        assert all(torch.equal(v, target[k]) for k, v in learner.actor.state_dict().items())


@pytest.mark.parametrize("heads", ["one", "two"])
def test_mean_and_log_std_may_be_one_head_or_two(heads: str, tmp_path: Path) -> None:
    trunk = sequential(SPEC.obs_dim, *HIDDEN, 1)[:-1]
    mean, log_std = (nn.Linear(HIDDEN[-1], SPEC.act_dim) for _ in range(2))
    if heads == "two":
        saved = nn.ModuleDict({"trunk": trunk, "mean": mean, "log_std": log_std}).state_dict()
    else:
        both = nn.Linear(HIDDEN[-1], 2 * SPEC.act_dim)
        both.weight.data = torch.cat((mean.weight.data, log_std.weight.data))
        both.bias.data = torch.cat((mean.bias.data, log_std.bias.data))
        saved = nn.ModuleDict({"trunk": trunk, "head": both}).state_dict()
    torch.save(saved, tmp_path / "policy.pt")
    learner = make_learner("sac", SPEC, hidden=HIDDEN)

    load_weights(learner, read_source(tmp_path / "policy.pt"))

    obs = observations()
    ours = learner.actor(obs[None], torch.tensor([0]))
    torch.testing.assert_close(ours[0][0], mean(trunk(obs)))
    torch.testing.assert_close(ours[1][0], log_std(trunk(obs)).clamp(-20, 2))


@pytest.mark.parametrize("form", ["actor", "learner", "best", "last"])
def test_our_own_weights_load_completely(form: str, tmp_path: Path) -> None:
    source, learner = (make_learner("td3", SPEC, seed=seed) for seed in (1, 2))
    networks = source.state_dict()
    state = {
        "actor": source.actor.state_dict(),
        "learner": networks,
        "best": {"networks": networks, "frames": 7},
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


# --- other shapes ---------------------------------------------------------------------------------


def test_matching_tensors_are_loaded_and_the_rest_is_reported(tmp_path: Path) -> None:
    other = sequential(SPEC.obs_dim + 1, *HIDDEN, SPEC.act_dim)  # another observation size
    torch.save(other.state_dict() | {"extra": torch.zeros(3)}, tmp_path / "other.pt")
    learner = make_learner("td3", SPEC, hidden=HIDDEN)
    before = learner.actor.body.trunk.layers[0].weight.clone()

    report = load_weights(learner, read_source(tmp_path / "other.pt"))

    first = "actor.body.trunk.layers.0.weight ([1, 1, 6, 16] in the file, [1, 1, 5, 16] here)"
    assert report.mismatched == [first]
    assert "actor.body.trunk.layers.0.bias" in report.loaded
    assert torch.equal(learner.actor.body.trunk.layers[0].weight, before)
    assert torch.equal(learner.actor.body.head.weight[0, 0].T, other[4].weight)


def test_extra_layers_of_a_deeper_network_are_reported(tmp_path: Path) -> None:
    torch.save(sequential(5, 16, 12, 12, 2).state_dict(), tmp_path / "deep.pt")

    report = load_weights(make_learner("td3", SPEC), read_source(tmp_path / "deep.pt"))

    left_over = ["actor.body.trunk.layers.2.bias", "actor.body.trunk.layers.2.weight"]
    assert report.skipped == left_over


# --- invalid files --------------------------------------------------------------------------------


TWO_LAYERS = {
    "actor.mu.0.weight": torch.ones(3, 5),
    "actor.mu.0.bias": torch.zeros(3),
    "actor.mu.2.weight": torch.ones(2, 3),
    "actor.mu.2.bias": torch.zeros(2),
}
"""An actor with the names of Stable-Baselines3."""


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def test_nothing_in_a_zip_is_executed(tmp_path: Path) -> None:
    """Neither its weights nor the pickles in its JSON; test_checkpoint has the other files."""
    mark = tmp_path / "mark"
    evil = saved({"0.weight": Payload(mark)})
    path = write_zip(tmp_path / "sb3.zip", {"data": b"{}", "policy.pth": evil})
    assert "sb3.zip" in error_of(read_source, path)

    text = base64.b64encode(pickle.dumps(Payload(mark))).decode()
    data = json.dumps({"policy_kwargs": {":serialized:": text}}).encode()
    read_source(write_zip(path, {"data": data, "policy.pth": saved(TWO_LAYERS)}))
    assert not mark.exists()


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "..\\out.txt"])
def test_a_zip_with_paths_outside_itself_is_rejected(name: str, tmp_path: Path) -> None:
    members = {"data": b"{}", "policy.pth": saved({}), name: b"x"}
    assert "outside the archive" in error_of(read_source, write_zip(tmp_path / "sb3.zip", members))


def test_a_zip_that_unpacks_to_more_than_its_size_is_rejected(tmp_path: Path) -> None:
    """Before anything is unpacked."""
    with zipfile.ZipFile(tmp_path / "sb3.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", b"{}")
        archive.writestr("policy.pth", bytes(20_000_000))
    assert "more than its own size" in error_of(read_source, tmp_path / "sb3.zip")


@pytest.mark.parametrize(
    ("content", "needle"),
    [
        (b"", "not a readable checkpoint"),
        (b"not a checkpoint", "not a readable checkpoint"),
        (saved({}), "no weights"),
        (saved([torch.zeros(2)]), "not a checkpoint"),
        (saved({"a": torch.zeros(2)}), "no linear layers"),
        (saved({"networks": {0: torch.zeros(2)}}), "0 is not a named tensor"),
        (saved({"learner": 3}), "'learner' is not a named tensor"),
        (saved({"networks": {}}), "no weights"),
        (saved({"a.weight": torch.zeros(2, 2), "epoch": 3}), "'epoch' is not a named tensor"),
    ],
)
def test_a_file_without_weights_is_rejected(content: bytes, needle: str, tmp_path: Path) -> None:
    (tmp_path / "file.pt").write_bytes(content)
    message = error_of(read_source, tmp_path / "file.pt")
    assert needle in message
    assert str(tmp_path / "file.pt") in message


@pytest.mark.parametrize(
    "change",
    [
        {"origin": [{"path": torch.zeros(2)}]},
        {"origin": [float("nan")]},
        {"origin": {"path": "x"}},
        {"frames": "many"},
        {"shapes": {"reach": [3]}},
        {"config": {"env": 3}},
    ],
    ids=str,
)
def test_invalid_fields_of_a_checkpoint_are_rejected(
    change: dict[str, Any], tmp_path: Path
) -> None:
    """At once, and not only when the result is written."""
    learner = make_learner("td3", SPEC)
    head = {"frames": 7, "config": {"env": {"tasks": ["reach"]}}, "shapes": {"reach": [5, 2]}}
    state = {"networks": learner.state_dict(), "origin": [], **head}
    files.save(tmp_path / "best.pt", state)
    read_source(tmp_path / "best.pt")
    files.save(tmp_path / "best.pt", state | change)
    assert "not written by a run (" in error_of(read_source, tmp_path / "best.pt")


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
    path = tmp_path / form
    if form == "torch.pt":
        path.write_bytes(saved(TWO_LAYERS))
    else:
        write_zip(path, {"data": b"{}", "policy.pth": saved(TWO_LAYERS)})
    read_source(path)
    for broken in damaged(path.read_bytes()):
        path.write_bytes(broken)
        with contextlib.suppress(UserError):
            read_source(path)


@pytest.mark.parametrize("form", ["torch.pt", "sb3.zip"])
def test_a_foreign_file_does_not_fit_a_network_with_layer_norm(form: str, tmp_path: Path) -> None:
    path, algo, net = tmp_path / form, "td3", {"hidden_shapes": [3]}
    path.write_bytes(saved(TWO_LAYERS))
    if form == "sb3.zip":
        write_zip(path, {"data": b"{}", "policy.pth": saved(TWO_LAYERS)})
    source = read_source(path)
    assert load_weights(make_learner(algo, SPEC, net=net), source).loaded
    normed = make_learner(algo, SPEC, net=net | {"norm": "layer"})
    assert 'set net.norm="none"' in error_of(load_weights, normed, source)


def test_a_missing_file_suggests_the_closest_name(tmp_path: Path) -> None:
    (tmp_path / "actor.pt").touch()
    assert "did you mean 'actor.pt'?" in error_of(read_source, tmp_path / "acter.pt")


def test_a_folder_without_a_checkpoint_is_rejected(tmp_path: Path) -> None:
    assert "not a run directory" in error_of(read_source, tmp_path)


def test_updates_continue_from_loaded_weights(tmp_path: Path) -> None:
    """Loading copies into the tensors that the optimisers hold."""
    learner = make_learner("sac", SPEC, hidden=HIDDEN)
    torch.save(sequential(5, *HIDDEN, 2).state_dict(), tmp_path / "clone.pt")
    load_weights(learner, read_source(tmp_path / "clone.pt"))
    before = learner.actor.body.head.weight.clone()
    batch = random_batch(SPEC, dtype=torch.float32)
    learner.update(batch, random_noise(batch), FULL)
    assert not torch.equal(learner.actor.body.head.weight, before)
