"""Weights from other runs: every tensor in its place, so that each task computes the same."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import error_of, make_learner, make_spec, padded_spec, random_batch, random_noise
from torch import Tensor
from torch.nn.functional import pad

from torchrl_lite.checkpoint import files
from torchrl_lite.policies.sources import Source, read_source
from torchrl_lite.transfer.start import load_weights
from torchrl_lite.types import Spec

KINDS: dict[str, dict[str, Any]] = {
    "mlp": {},
    "embedding": {"task_input": "embedding"},
    "multihead": {"kind": "multihead"},
    "independent": {"kind": "independent"},
    "soft_module": {"kind": "soft_module"},
    "residual": {"net": {"norm": "layer", "residual": True, "hidden_shapes": [12, 12]}},
    "normed agents": {"kind": "independent", "net": {"norm": "layer", "critic": {"kind": "c51"}}},
    "normed modules": {"kind": "soft_module", "net": {"norm": "layer"}},
    **{kind: {"kind": kind} for kind in ("paco", "moore", "film", "care")},
}
THREE = make_spec(3)._replace(tasks=("reach", "push", "pick"))
ALL = ["actor", "critic", "alpha"]
F64 = torch.float64


def one(name: str) -> Spec:
    return make_spec()._replace(tasks=(name,))


def learner_of(spec: Spec, algo: str = "sac", *, seed: int, net: str = "mlp") -> Any:
    """With biases, temperatures and targets unlike any initial ones."""
    learner = make_learner(algo, spec, seed=seed, dtype=F64, **KINDS[net])
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in learner.state_dict().values():
            value += 0.3 * torch.randn(value.shape, generator=generator, dtype=F64)
    return learner


def as_source(learner: Any, folder: Path) -> Source:
    """Through a file, as a run writes it."""
    spec = learner.spec
    state = {
        "networks": learner.state_dict(),
        "frames": 70,
        "config": {"env": {"tasks": list(spec.tasks)}, "net": learner.net.model_dump()},
        "shapes": spec.shapes,
        "origin": [],
    }
    files.save(folder / "best.pt", state)
    return read_source(folder / "best.pt")


def tensors(learner: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in learner.state_dict().items()}


def outputs_of(learner: Any, task: int, *, obs_dim: int = 5, act_dim: int = 2) -> dict[str, Tensor]:
    """All that the networks compute for the same observations and actions of one task."""
    batch = random_batch(make_spec(obs_dim=obs_dim, act_dim=act_dim), seed=3)
    sizes, row = learner.spec, torch.tensor([task])

    def padded(values: Tensor, size: int) -> Tensor:
        """Values in the padding must not matter."""
        return pad(values, (0, size - values.shape[-1]), value=7.0)

    obs, act = padded(batch.obs, sizes.obs_dim), padded(batch.act, sizes.act_dim)
    noise = padded(random_noise(batch).act[0], sizes.act_dim)
    with torch.no_grad():
        result = {
            "act": learner.actor.act(obs, row)[..., :act_dim],
            "q": learner.critic(obs, act, row),
            "target": learner.target(obs, act, row),
        }
        if hasattr(learner, "log_alpha"):
            result["logp"] = learner.actor.sample(obs, row, noise)[1]
            result["log_alpha"] = learner.log_alpha[task]
        if hasattr(learner, "target_actor"):
            result["target_act"] = learner.target_actor.act(obs, row)[..., :act_dim]
    return result


def assert_same_outputs(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-10, atol=1e-10, msg=name)


@pytest.mark.parametrize("part", ALL)
def test_only_the_requested_part_is_loaded(part: str, tmp_path: Path) -> None:
    source, learner = (learner_of(THREE, seed=seed) for seed in (1, 2))
    before = tensors(learner)
    load_weights(learner, as_source(source, tmp_path), load=[part])
    moved = {"actor": ("actor.",), "critic": ("critic.", "target."), "alpha": ("log_alpha",)}[part]
    for name, value in tensors(learner).items():
        expected = source.state_dict()[name] if name.startswith(moved) else before[name]
        assert torch.equal(value, expected), name


# A single-task run has no learned embedding to load.
@pytest.mark.parametrize("net", [net for net in KINDS if net != "embedding"])
def test_a_single_task_becomes_one_of_many(net: str, tmp_path: Path) -> None:
    source, learner = learner_of(one("push"), seed=1, net=net), learner_of(THREE, seed=2, net=net)
    before = tensors(learner)
    load_weights(learner, as_source(source, tmp_path), load=ALL)
    assert_same_outputs(outputs_of(learner, 1), outputs_of(source, 0))
    rows = {name for name in before if before[name].shape[-1 if name == "log_alpha" else 1] == 3}
    assert any(name.startswith("actor") for name in rows) and "log_alpha" in rows
    for name in rows:  # the other tasks keep their initial values
        mine, old = tensors(learner)[name], before[name.replace("target.", "critic.")]
        mine, old = (t if t.ndim == 1 else t.transpose(0, 1) for t in (mine, old))
        assert torch.equal(mine[[0, 2]], old[[0, 2]]), name
        assert not torch.equal(mine[1], old[1]), name


@pytest.mark.parametrize("net", KINDS)
def test_tasks_are_matched_by_name_in_another_order(net: str, tmp_path: Path) -> None:
    other = make_spec(4)._replace(tasks=("pick", "door", "push", "drawer"))
    source, learner = learner_of(THREE, seed=1, net=net), learner_of(other, seed=2, net=net)
    before = tensors(learner)
    load_weights(learner, as_source(source, tmp_path), load=ALL)
    for here, there in ((0, 2), (2, 1)):
        assert_same_outputs(outputs_of(learner, here), outputs_of(source, there))
    assert torch.equal(learner.log_alpha[[1, 3]], before["log_alpha"][[1, 3]])


def test_a_map_loads_tasks_with_other_names(tmp_path: Path) -> None:
    """One source task may go to several; the map takes precedence over equal names."""
    other = make_spec(4)._replace(tasks=("push", "window", "door", "pick"))
    source = learner_of(THREE, seed=1, net="multihead")
    learner = learner_of(other, seed=2, net="multihead")
    task_map = {"window": "push", "pick": "reach"}
    load_weights(learner, as_source(source, tmp_path), load=ALL, task_map=task_map)
    for here, there in ((0, 1), (1, 1), (3, 0)):
        assert_same_outputs(outputs_of(learner, here), outputs_of(source, there))


def test_a_single_task_is_loaded_into_a_single_task_of_any_name(tmp_path: Path) -> None:
    source, learner = learner_of(one("window-open"), seed=1), learner_of(one("close"), seed=2)
    load_weights(learner, as_source(source, tmp_path), load=ALL)
    assert_same_outputs(outputs_of(learner, 0), outputs_of(source, 0))


def test_the_map_selects_one_of_many_tasks(tmp_path: Path) -> None:
    net = "independent"
    source, learner = learner_of(THREE, seed=1, net=net), learner_of(one("slide"), seed=2, net=net)
    file, before = as_source(source, tmp_path), tensors(learner)

    unmapped = load_weights(learner, file, load=ALL)
    assert unmapped.loaded == [] and len(unmapped.skipped) == len(before) - 6  # without targets
    for name, value in tensors(learner).items():
        assert torch.equal(value, before[name.replace("target.", "critic.")]), name
    load_weights(learner, file, load=ALL, task_map={"slide": "pick"})
    assert_same_outputs(outputs_of(learner, 0), outputs_of(source, 2))


def test_a_shared_head_initializes_the_head_of_every_task(tmp_path: Path) -> None:
    source, learner = learner_of(THREE, seed=1), learner_of(THREE, seed=2, net="multihead")
    load_weights(learner, as_source(source, tmp_path), load=ALL)
    for task in range(3):
        assert_same_outputs(outputs_of(learner, task), outputs_of(source, task))


def test_separate_heads_cannot_become_a_shared_head(tmp_path: Path) -> None:
    source, learner = learner_of(THREE, seed=1, net="multihead"), learner_of(THREE, seed=2)
    head = learner.actor.body.head.weight.clone()
    report = load_weights(learner, as_source(source, tmp_path))
    assert report.mismatched[0].startswith("actor.body.head.weight ([1, 3, 12, 4] in the file")
    assert torch.equal(learner.actor.body.head.weight, head)
    assert "actor.body.trunk.layers.0.bias" in report.loaded


def test_a_file_without_task_names_is_loaded_into_all_tasks(tmp_path: Path) -> None:
    """It cannot be used with a map."""
    source, learner = learner_of(one("reach"), seed=1), learner_of(THREE, seed=2)
    torch.save(source.actor.state_dict(), tmp_path / "actor.pt")
    file = read_source(tmp_path / "actor.pt")
    load_weights(learner, file)
    for task in range(3):
        torch.testing.assert_close(outputs_of(learner, task)["act"], outputs_of(source, 0)["act"])
    message = error_of(load_weights, learner, file, task_map={"reach": "push"})
    assert "transfer.task_map:" in message and "does not name its tasks" in message


# --- padding --------------------------------------------------------------------------------------

PADDED = padded_spec([6, 3, 5], [2, 1, 3])._replace(tasks=("ant", "pendulum", "hopper"))
SMALL = make_spec(obs_dim=3, act_dim=1)._replace(tasks=("pendulum",))


@pytest.mark.parametrize(
    ("net", "joins"),
    [*((net, False) for net in KINDS), *((net, True) for net in KINDS if net != "embedding")],
)
def test_a_small_task_can_join_and_leave_larger_ones(net: str, joins: bool, tmp_path: Path) -> None:
    """A task embedding is not loaded when joining."""
    specs = (SMALL, PADDED) if joins else (PADDED, SMALL)
    source, learner = (learner_of(spec, seed=seed, net=net) for seed, spec in enumerate(specs))
    report = load_weights(learner, as_source(source, tmp_path), load=ALL)
    assert report.mismatched == []
    sizes = {"obs_dim": 3, "act_dim": 1}
    here, there = (1, 0) if joins else (0, 1)
    assert_same_outputs(outputs_of(learner, here, **sizes), outputs_of(source, there, **sizes))


@pytest.mark.parametrize("obs_dim", [5, 8])
def test_layers_and_statistics_of_another_shape_are_not_loaded(
    obs_dim: int, tmp_path: Path
) -> None:
    """Five observation features are not six with one missing; a count is useless alone."""
    walker = make_spec(obs_dim=obs_dim, act_dim=3)._replace(tasks=("walker",))
    net = {"normalize_obs": True}
    source, learner = (make_learner("sac", spec, net=net) for spec in (walker, PADDED))
    source.actor.normalizer.update(torch.ones(1, 4, 1, obs_dim), [0])
    report = load_weights(learner, as_source(source, tmp_path), task_map={"ant": "walker"})
    assert "actor.body.normalizer.count (of no use alone)" in report.skipped
    layers = [line for line in report.mismatched if "normalizer" not in line]
    sizes = f"[1, 1, {obs_dim}, 16] in the file, [1, 1, 6, 16] here"
    assert layers == [f"actor.body.trunk.layers.0.weight ({sizes})"]
    assert not any("normalizer" in name for name in report.loaded)
    assert not learner.actor.normalizer.count.any()
    wider = make_learner("sac", walker, net=net, hidden=(20, 24))
    report = load_weights(learner, as_source(wider, tmp_path), task_map={"ant": "walker"})
    assert "actor.body.head.bias (of no use alone)" in report.skipped


@pytest.mark.parametrize(
    ("net", "load", "key"),
    [
        ({"norm": "layer"}, ("actor",), "net.norm"),
        ({"residual": True}, ("actor",), "net.residual"),
        ({"critic": {"kind": "c51", "bound": 20}}, ("actor", "critic"), "net.critic.bound"),
        ({"critic": {"kind": "c51", "bound": 20}}, ("actor",), ""),
        ({"critic": {"kind": "c51"}}, ("actor", "critic"), ""),
    ],
)
def test_equal_shapes_with_another_meaning_are_rejected(
    net: dict[str, Any], load: tuple[str, ...], key: str, tmp_path: Path
) -> None:
    here = {"hidden_shapes": [8, 8, 8], "critic": {"kind": "hl_gauss", "bound": 5}}
    there = here | ({"hidden_shapes": [8, 8]} if net.get("residual") else {}) | net
    source, learner = (make_learner("sac", make_spec(), net=each) for each in (there, here))
    found = as_source(source, tmp_path)
    if key:
        assert f"another {key}; set {key}=" in error_of(load_weights, learner, found, load=load)
    else:
        assert load_weights(learner, found, load=load).loaded


def test_a_deterministic_policy_loads_the_mean_of_a_stochastic_one(tmp_path: Path) -> None:
    source, learner = learner_of(THREE, "sac", seed=1), learner_of(THREE, "td3", seed=2)
    report = load_weights(learner, as_source(source, tmp_path), load=ALL)
    assert "actor.body.head.weight (the mean)" in report.loaded
    assert report.skipped == ["log_alpha (this run learns no temperature)"]
    theirs = outputs_of(source, 1)
    expected = {name: theirs[name] for name in ("act", "q", "target")}
    assert_same_outputs(outputs_of(learner, 1), expected | {"target_act": theirs["act"]})


def test_one_critic_is_not_loaded_into_two(tmp_path: Path) -> None:
    source, learner = learner_of(THREE, "ddpg", seed=1), learner_of(THREE, "td3", seed=2)
    before = tensors(learner)
    report = load_weights(learner, as_source(source, tmp_path), load=["critic"])
    assert report.loaded == [] and len(report.mismatched) == 6
    for name, value in tensors(learner).items():
        expected = before[name.replace("target.", "critic.")]  # targets copy the critics
        assert name.startswith("target_actor") or torch.equal(value, expected)


@pytest.mark.parametrize("alpha", [0.0, 0.2])
def test_a_fixed_temperature_initializes_a_learned_one_unless_it_is_zero(
    alpha: float, tmp_path: Path
) -> None:
    source, learner = make_learner("sac", THREE, alpha=alpha), make_learner("sac", THREE)
    file = as_source(source, tmp_path)
    assert ("log_alpha" in file.parts) == (alpha > 0)
    if alpha:
        load_weights(learner, file, load=["alpha"])
        torch.testing.assert_close(learner.log_alpha.exp(), torch.full((3,), alpha))
