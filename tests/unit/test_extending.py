"""A custom algorithm and a custom network, with no more than docs/extending.md describes."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import Field
from tiny_runs import (
    TASK,
    TINY,
    assert_same_run,
    folder_in,
    main,
    rows_of,
    run_starter,
    same_results,
    sets,
)
from torch import Tensor, nn

from torchrl_lite import load_policy
from torchrl_lite.algo import registry
from torchrl_lite.algo.agent_config import AgentConfig
from torchrl_lite.algo.learner import Learner
from torchrl_lite.config import NetConfig, NonNegative
from torchrl_lite.network import build as networks
from torchrl_lite.network.actor import GaussianPolicy
from torchrl_lite.network.build import build, build_critic
from torchrl_lite.network.layers import EnsembleLinear
from torchrl_lite.types import Batch, Noise, Spec

CRITICS = 4


class RedqConfig(AgentConfig):
    """Chen et al. 2021, with a fixed temperature."""

    alpha: NonNegative = Field(0.1, description="temperature")

    def make_actor(self, net: NetConfig, spec: Spec) -> GaussianPolicy:
        body = build(net, spec, role="actor", outputs=2 * spec.act_dim, parts=2)
        return GaussianPolicy(body, spec, log_std_min=-5.0, log_std_max=2.0)


class Redq(Learner):
    """The target is the minimum of two random critics; the mean of all trains the actor."""

    config: RedqConfig
    actor: GaussianPolicy
    pair: Tensor
    METRICS = (
        *(f"q{index + 1}_loss" for index in range(CRITICS)),
        *("actor_loss", "q", "critic_grad_norm", "actor_grad_norm"),
    )

    def build(self, net: NetConfig) -> None:
        self.actor = self.config.make_actor(net, self.spec)
        self.critic = build_critic(net, self.spec, ensemble=CRITICS)
        self.target = deepcopy(self.critic).requires_grad_(False)
        self.register_buffer("pair", torch.arange(2))

    def draw(self, generator: torch.Generator) -> None:
        order = torch.randperm(CRITICS, generator=generator, device=self.device)
        self.pair.copy_(order[:2])

    def variant(self, step: int) -> str:  # noqa: ARG002
        return "critic+policy+target"

    def update(self, batch: Batch, noise: Noise, variant: str) -> dict[str, Tensor]:  # noqa: ARG002
        task, config = batch.task, self.config
        metrics = self.update_critic(batch, noise.act[0])
        act, logp = self.actor.sample(batch.obs, task, noise.act[1])
        q = self.critic.value(self.critic(batch.obs, act, task)).mean(0)
        losses = (config.alpha * logp - q).mean(1)
        norm = self.step("actor", losses, task, max_norm=config.grad_clip)
        self.follow(self.target, self.critic, tau=config.tau, task=task)
        return metrics | {"actor_loss": losses.detach(), "actor_grad_norm": norm}

    @torch.no_grad()
    def td_target(self, batch: Batch, noise: Tensor) -> Tensor:
        act, logp = self.actor.sample(batch.next_obs, batch.task, noise)
        return self.critic.target(
            self.target(batch.next_obs, act, batch.task)[self.pair],
            rew=self.config.reward_scale * batch.rew,
            discount=batch.discount,
            bonus=-self.config.alpha * logp,
        )


def body_with(activation: Callable[[Tensor], Tensor]) -> Callable[..., nn.Module]:
    """A custom network."""

    class Body(nn.Module):
        def __init__(self, _net: NetConfig, shape: Any) -> None:
            super().__init__()
            sizes = {"ensemble": shape.ensemble, "init": shape.scheme.hidden}
            self.first = EnsembleLinear(shape.inputs, 8, **sizes)
            self.last = EnsembleLinear(8, shape.outputs, **sizes)

        def forward(self, x: Tensor, task: Tensor) -> Tensor:
            return self.last(activation(self.first(x, task)), task)

    return Body


@pytest.fixture(autouse=True)
def extended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ALGORITHMS, "redq", (Redq, RedqConfig))
    monkeypatch.setitem(registry.SECTIONS, "redq", RedqConfig)


def run(log_dir: Path, *flags: str) -> Path:
    fields = TINY | {"train.num_epochs": 5, "train.save_interval": 1, "train.eval_interval": 2}
    common = ["--task", TASK, "--id", "x", "--device", "cpu", "--log_dir", str(log_dir)]
    assert main("redq", [*common, *sets(fields), *flags]) == 0
    return folder_in(log_dir)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.functional.silu], ids=["relu", "silu"])
def test_a_custom_algorithm_trains_resumes_bit_identically_and_acts(
    activation: Callable[[Tensor], Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only ReLU units can be dead."""
    monkeypatch.setitem(networks._BODIES, "mlp", body_with(activation))
    whole = run(tmp_path / "whole")
    parts = run(tmp_path / "parts", "--until", "31")
    assert not (parts / "result.json").exists()
    run(tmp_path / "parts", "--resume")
    assert_same_run(parts, whole)
    assert same_results(parts, whole)
    evaluated = [row for row in rows_of(whole) if row["eval/return"]]
    assert run_starter("diagnose", whole) == 0
    assert all(bool(row["eval/dead_actor"]) == isinstance(activation, nn.ReLU) for row in evaluated)

    obs = np.linspace(-1, 1, 39)
    for source in (whole, whole / "policy.safetensors", whole / "checkpoint" / "best.pt"):
        assert np.abs(load_policy(source)(obs)).max() <= 1


@pytest.mark.parametrize(
    ("measured", "message"),
    [({"entropi": torch.zeros(1)}, "'entropi' is not in METRICS"), ({"q": torch.zeros(())}, "'q'")],
)
def test_the_error_names_a_metric_that_cannot_be_logged(
    measured: dict[str, Tensor], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Redq, "update", lambda *_: measured)
    with pytest.raises(ValueError, match=message):
        run(tmp_path)
