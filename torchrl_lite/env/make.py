"""Environments of all suites, and the shapes of a set of tasks."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import gymnasium as gym
from pydantic import ValidationError

from torchrl_lite.config import EnvConfig, WrapperConfig, nearest, plain, validate
from torchrl_lite.env import gymnasium, metaworld
from torchrl_lite.env.failing import named
from torchrl_lite.env.imports import import_modules
from torchrl_lite.env.viewing import NO_VIEW, View
from torchrl_lite.env.wrappers import wrapped
from torchrl_lite.errors import UserError
from torchrl_lite.types import Spec


class Suite(Protocol):
    """The interface of a suite's module; every function checks the task name."""

    @property
    def make(self) -> Callable[..., gym.Env]:
        """Called with ``(task, seed=, horizon=, view=, **options)``."""

    def options(self, config: EnvConfig) -> dict[str, Any]: ...

    def shape(self, task: str, config: EnvConfig) -> tuple[int, int]:
        """Sizes of the observation and the action."""

    def horizon(self, task: str, config: EnvConfig) -> int:
        """The suite's time limit of a task, in steps."""


_SUITES: dict[str, Suite] = {"metaworld": metaworld, "gymnasium": gymnasium}


def make_env(
    suite: str,
    task: str,
    *,
    seed: int = 1,
    horizon: int | None = None,
    render_mode: str | None = None,
    wrappers: Sequence[WrapperConfig | str | dict[str, Any]] | str = (),
    imports: Sequence[str] | str = (),
    **options: Any,
) -> gym.Env:
    """One environment; ``horizon`` is its time limit in steps (None: the suite's).

    ``seed`` determines what is fixed per task (on Meta-World the 50 goals of
    ``metaworld.MT1(task, seed=seed)``). An episode is determined by
    ``reset(seed=s, options={"goal": j})`` and its actions. ``wrappers``: as ``env.wrappers``, a
    name or a dictionary of ``name`` and arguments, the first one innermost. ``imports``: modules
    whose import registers ids or wrappers; importing runs their code. Further options: ``camera``
    and ``film_size`` (`View`); of ``metaworld`` also the fields of `metaworld.Rules`.

    Raises:
        UserError: unknown suite, task, camera, wrapper or module, a wrong option, or unsupported
            spaces.
    """
    if suite not in _SUITES:
        raise UserError(f"env.suite: {suite!r} is unknown{nearest(suite, _SUITES)}")
    wrappers = [wrappers] if isinstance(wrappers, str) else wrappers
    import_modules([imports] if isinstance(imports, str) else imports)
    view = View(render_mode, options.pop("camera", None), options.pop("film_size", None))
    _check_options(options, suite=suite, task=task, max_episode_frames=horizon)
    env = _SUITES[suite].make(task, seed=seed, horizon=horizon, view=view, **options)
    try:
        return wrapped(env, [_wrapper(one) for one in wrappers])
    except UserError:
        with suppress(Exception):  # the first error is the cause
            env.close()
        raise


def _check_options(options: dict[str, Any], *, suite: str, task: str, **more: Any) -> None:
    """
    Raises:
        UserError: an option is unknown, or has a value that its field does not allow.
    """
    known = metaworld.Rules._fields
    for name in options:
        if name not in known:
            raise UserError(f"make_env: {name!r} is not an option{nearest(name, known)}")
    tree = plain({"suite": suite, "tasks": [task], **more, **options})
    try:
        validate(EnvConfig, tree, "make_env")
    except UserError as error:
        raise UserError(str(error).replace("max_episode_frames", "horizon")) from None


def _wrapper(given: WrapperConfig | str | dict[str, Any]) -> WrapperConfig:
    try:
        return WrapperConfig.model_validate(plain(given))
    except ValidationError as error:
        raise UserError(f"env.wrappers: {given!r}: {error.errors()[0]['msg']}") from None


def make_task_env(config: EnvConfig, task: int, *, seed: int, view: View = NO_VIEW) -> gym.Env:
    """The environment of a configuration's task with index ``task``."""
    return make_env(
        config.suite,
        config.tasks[task],
        seed=seed,
        horizon=config.max_episode_frames,
        wrappers=config.wrappers,
        imports=config.imports,
        **_SUITES[config.suite].options(config),
        **view._asdict(),
    )


def task_horizon(config: EnvConfig, task: int) -> int:
    """The time limit of the task with index ``task``, in steps."""
    import_modules(config.imports)  # a worker asks for it before it makes an environment
    return config.max_episode_frames or _SUITES[config.suite].horizon(config.tasks[task], config)


def make_spec(config: EnvConfig) -> Spec:
    """Names and sizes of the configured tasks.

    Raises:
        UserError: unknown task, wrapper or module, or unsupported spaces.
        EpisodeError: an environment cannot be closed.
    """
    import_modules(config.imports)
    shapes = [_SUITES[config.suite].shape(task, config) for task in config.tasks]
    obs_dims, act_dims = zip(*shapes, strict=True)
    if config.wrappers:
        obs_dims = tuple(_wrapped_size(config, task) for task in range(len(config.tasks)))
    return Spec(tuple(config.tasks), obs_dims, act_dims)


def _wrapped_size(config: EnvConfig, task: int) -> int:
    """Size of a wrapped observation. Only a made environment has it."""
    env = make_task_env(config, task, seed=0)
    with named(config.tasks[task]):
        env.close()
    assert env.observation_space.shape
    return env.observation_space.shape[0]
