"""Results from environments of other packages: numbers in any form, and invalid results."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box
from helpers import make_learner, through_a_file
from numpy import ndarray

from torchrl_lite.collector.collector import Collector
from torchrl_lite.collector.setup import RolloutSetup
from torchrl_lite.config import EnvConfig
from torchrl_lite.env.make import make_spec
from torchrl_lite.errors import EpisodeError

StepResult = tuple[Any, Any, Any, Any, Any]


def as_it_is(values: ndarray, _step: int) -> Any:
    return values


class Talker(gym.Env):
    """Observes the step count, a number drawn at reset and the last action."""

    observation_space = Box(-np.inf, np.inf, (3,), np.float64)
    action_space = Box(-1, 1, (1,), np.float32)

    def __init__(
        self,
        observe: Callable[[ndarray, int], Any] = as_it_is,
        respond: Callable[..., StepResult] = lambda *result: result,
        render_mode: str | None = None,
    ) -> None:
        """``observe`` and ``respond`` turn plain numbers into what the agent receives."""
        self.observe, self.respond, self.render_mode = observe, respond, render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        super().reset(seed=seed, options=options)
        self.values = np.array([0.0, 100 * self.np_random.random(), 0.0])
        return self.observe(self.values.copy(), 0), {}

    def step(self, action: ndarray) -> StepResult:
        self.values[0] += 1
        self.values[2] = 10 * action[0]
        obs = self.observe(self.values.copy(), int(self.values[0]))
        return self.respond(obs, float(self.values[0]), False, False, {})


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch) -> Callable[..., EnvConfig]:
    """The configuration of a `Talker` whose episodes have 5 steps."""

    def register(**kwargs: Any) -> EnvConfig:
        spec = EnvSpec("Talker-v0", entry_point=Talker, max_episode_steps=5, kwargs=kwargs)
        monkeypatch.setitem(gym.registry, "Talker-v0", spec)
        return EnvConfig(suite="gymnasium", tasks=["Talker-v0"])

    return register


def collect(config: EnvConfig) -> list[torch.Tensor]:
    """Eight random frames, then eight of a policy, after restoring the collector."""
    spec = make_spec(config)
    actor = make_learner("td3", spec).actor
    warnings: list[str] = []
    blocks = []
    state: Any = None
    for random in (True, False):
        with Collector(
            RolloutSetup(config, spec, actor, seed=1), epoch_frames=8, say=warnings.append
        ) as collector:
            if state is not None:
                collector.load_state_dict(state)
            collector.submit(actor, [0], random=random)
            blocks += collector.result().block
            state = through_a_file(collector.state_dict())
    assert not warnings  # the interrupted episode continued
    return blocks


SHARED = np.zeros(3)
EQUIVALENT: dict[str, Callable[[ndarray, int], Any]] = {
    "list": lambda values, _: values.tolist(),
    "tensor": lambda values, _: torch.from_numpy(values),
    "objects": lambda values, _: values.astype(object),
    "other byte order": lambda values, _: values.astype(">f8"),
    "another dtype at reset": lambda values, step: values if step else values.astype(np.float32),
    "the same array": lambda values, _: np.copyto(SHARED, values) or SHARED,
}


def test_observations_may_have_any_numeric_form(talk: Callable[..., EnvConfig]) -> None:
    expected = collect(talk())
    for form, observe in EQUIVALENT.items():
        collected = collect(talk(observe=observe))
        assert all(map(torch.equal, collected, expected)), form


ENDS: dict[str, tuple[Callable[..., StepResult], list[int], list[float]]] = {
    "at once": (lambda obs, rew, _, cut, info: (obs, rew, True, cut, info), [1] * 8, [0.0] * 8),
    "at the time limit": (
        lambda obs, rew, _end, _cut, info: (obs, rew, rew == 5, rew == 5, info),
        [1, 2, 3, 4, 5, 1, 2, 3],
        [1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0],
    ),
    "truncated by the environment": (
        lambda obs, rew, end, _, info: (obs, rew, end, rew == 3, info),
        [1, 2, 3] * 2 + [1, 2],
        [1.0] * 8,
    ),
    "numpy scalars": (
        lambda obs, rew, _, cut, info: (obs, np.float32(rew), np.bool_(rew == 3), cut, info),
        [1, 2, 3] * 2 + [1, 2],
        [1.0, 1.0, 0.0] * 2 + [1.0, 1.0],
    ),
}


@pytest.mark.parametrize(("respond", "steps", "cont"), ENDS.values(), ids=ENDS.keys())
def test_only_termination_stops_bootstrapping(
    talk: Callable[..., EnvConfig],
    respond: Callable[..., StepResult],
    steps: list[int],
    cont: list[float],
) -> None:
    obs, _, rew, next_obs, collected, *_ = collect(talk(respond=respond))
    assert collected[0, :, 0].tolist() == cont
    assert rew[0, :, 0].tolist() == steps
    assert next_obs[0, :, 0, 0].tolist() == steps  # the true successor, also after the last step
    assert obs[0, :, 0, 0].tolist() == [step - 1 for step in steps]


INVALID: dict[str, tuple[Callable[..., StepResult], str]] = {
    "a list of rewards": (lambda obs, rew, *rest: (obs, [rew], *rest), "reward has shape (1,)"),
    "a reward as text": (lambda obs, _, *rest: (obs, "1", *rest), "the reward is '1'"),
    "no info": (lambda *a: (*a[:4], None), "NoneType"),
    "a short observation": (lambda obs, *rest: (obs[:2], *rest), "has shape (2,), not (3,)"),
    "an array as terminated": (lambda o, r, e, c, i: (o, r, np.array([e, e]), c, i), "truth value"),
    "four values": (lambda *a: a[:4], "4"),
    "an observation as text": (lambda _, *rest: (["a", "b", "c"], *rest), "could not convert"),
}


@pytest.mark.parametrize(("respond", "needle"), INVALID.values(), ids=INVALID.keys())
def test_an_invalid_result_names_the_environment(
    talk: Callable[..., EnvConfig], respond: Callable[..., StepResult], needle: str
) -> None:
    with pytest.raises(EpisodeError) as caught:
        collect(talk(respond=respond))
    assert str(caught.value).startswith("Talker-v0 (copy 0): ")
    assert needle in str(caught.value)
