"""What environments of other packages answer: numbers in any form, and what is no answer."""

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

Answer = tuple[Any, Any, Any, Any, Any]


def as_it_is(values: ndarray, _step: int) -> Any:
    return values


class Talker(gym.Env):
    """Observes the number of steps, a number drawn at the reset and the last action."""

    observation_space = Box(-np.inf, np.inf, (3,), np.float64)
    action_space = Box(-1, 1, (1,), np.float32)

    def __init__(
        self,
        observe: Callable[[ndarray, int], Any] = as_it_is,
        answer: Callable[..., Answer] = lambda *answer: answer,
        render_mode: str | None = None,
    ) -> None:
        """``observe`` and ``answer`` make of the plain numbers what the agent is told."""
        self.observe, self.answer, self.render_mode = observe, answer, render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        super().reset(seed=seed, options=options)
        self.values = np.array([0.0, 100 * self.np_random.random(), 0.0])
        return self.observe(self.values.copy(), 0), {}

    def step(self, action: ndarray) -> Answer:
        self.values[0] += 1
        self.values[2] = 10 * action[0]
        obs = self.observe(self.values.copy(), int(self.values[0]))
        return self.answer(obs, float(self.values[0]), False, False, {})


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch) -> Callable[..., EnvConfig]:
    """The configuration of a `Talker` whose episodes have 5 steps."""

    def register(**kwargs: Any) -> EnvConfig:
        spec = EnvSpec("Talker-v0", entry_point=Talker, max_episode_steps=5, kwargs=kwargs)
        monkeypatch.setitem(gym.registry, "Talker-v0", spec)
        return EnvConfig(suite="gymnasium", tasks=["Talker-v0"])

    return register


def collect(config: EnvConfig) -> list[torch.Tensor]:
    """Eight random frames, then, in another process as it were, eight of a policy."""
    spec = make_spec(config)
    actor = make_learner("td3", spec).actor
    warnings: list[str] = []
    blocks = []
    state: Any = None
    for random in (True, False):
        with Collector(
            RolloutSetup(config, spec, actor, seed=1), epoch_frames=8, say=warnings.append
        ) as own:
            if state is not None:
                own.load_state_dict(state)
            own.submit(actor, [0], random=random)
            blocks += own.result().block
            state = through_a_file(own.state_dict())
    assert not warnings  # the episode that was interrupted went on
    return blocks


SHARED = np.zeros(3)
SAME: dict[str, Callable[[ndarray, int], Any]] = {
    "list": lambda values, _: values.tolist(),
    "tensor": lambda values, _: torch.from_numpy(values),
    "objects": lambda values, _: values.astype(object),
    "other byte order": lambda values, _: values.astype(">f8"),
    "another at the reset": lambda values, step: values if step else values.astype(np.float32),
    "the same array": lambda values, _: np.copyto(SHARED, values) or SHARED,
}


def test_an_observation_is_its_numbers(talk: Callable[..., EnvConfig]) -> None:
    expected = collect(talk())
    for form, observe in SAME.items():
        told = collect(talk(observe=observe))
        assert all(map(torch.equal, told, expected)), form


ENDS: dict[str, tuple[Callable[..., Answer], list[int], list[float]]] = {
    "at once": (lambda obs, rew, _, cut, info: (obs, rew, True, cut, info), [1] * 8, [0.0] * 8),
    "with the time limit": (
        lambda obs, rew, _end, _cut, info: (obs, rew, rew == 5, rew == 5, info),
        [1, 2, 3, 4, 5, 1, 2, 3],
        [1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0],
    ),
    "cut by itself": (
        lambda obs, rew, end, _, info: (obs, rew, end, rew == 3, info),
        [1, 2, 3] * 2 + [1, 2],
        [1.0] * 8,
    ),
    "as numpy says it": (
        lambda obs, rew, _, cut, info: (obs, np.float32(rew), np.bool_(rew == 3), cut, info),
        [1, 2, 3] * 2 + [1, 2],
        [1.0, 1.0, 0.0] * 2 + [1.0, 1.0],
    ),
}


@pytest.mark.parametrize(("answer", "steps", "cont"), ENDS.values(), ids=ENDS.keys())
def test_an_end_cuts_the_bootstrap_wherever_it_comes(
    talk: Callable[..., EnvConfig],
    answer: Callable[..., Answer],
    steps: list[int],
    cont: list[float],
) -> None:
    obs, _, rew, next_obs, told, *_ = collect(talk(answer=answer))
    assert told[0, :, 0].tolist() == cont
    assert rew[0, :, 0].tolist() == steps
    assert next_obs[0, :, 0, 0].tolist() == steps  # the true successor, also of a last step
    assert obs[0, :, 0, 0].tolist() == [step - 1 for step in steps]


NONE: dict[str, tuple[Callable[..., Answer], str]] = {
    "a list of rewards": (lambda obs, rew, *rest: (obs, [rew], *rest), "reward has shape (1,)"),
    "a reward in words": (lambda obs, _, *rest: (obs, "1", *rest), "the reward is '1'"),
    "no info": (lambda *a: (*a[:4], None), "NoneType"),
    "a short one": (lambda obs, *rest: (obs[:2], *rest), "has shape (2,), not (3,)"),
    "two ends": (lambda o, r, e, c, i: (o, r, np.array([e, e]), c, i), "truth value"),
    "four values": (lambda *a: a[:4], "4"),
    "words": (lambda _, *rest: (["a", "b", "c"], *rest), "could not convert"),
}


@pytest.mark.parametrize(("answer", "needle"), NONE.values(), ids=NONE.keys())
def test_an_invalid_answer_names_the_environment(
    talk: Callable[..., EnvConfig], answer: Callable[..., Answer], needle: str
) -> None:
    with pytest.raises(EpisodeError) as caught:
        collect(talk(answer=answer))
    assert str(caught.value).startswith("Talker-v0 (copy 0): ")
    assert needle in str(caught.value)
