"""Loads a trained policy: a shipped one, a run's, or one in a file."""

from io import BytesIO
from pathlib import Path
from typing import Any

import gymnasium as gym

from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.checkpoint import files
from torchrl_lite.checkpoint.records import read_versions
from torchrl_lite.checkpoint.state import check_state
from torchrl_lite.checkpoint.store import weights_of
from torchrl_lite.config import Config, check, nearest
from torchrl_lite.config.reading import read_bytes, reason
from torchrl_lite.config.trust import check_imports
from torchrl_lite.env import metaworld
from torchrl_lite.env.make import make_spec
from torchrl_lite.errors import CheckpointError, UserError
from torchrl_lite.network.torch_settings import default_settings
from torchrl_lite.policies import file as policy_file
from torchrl_lite.policies import hub, shipped
from torchrl_lite.policies.actor import actor_of, check_tensors
from torchrl_lite.policies.head import MAX_BYTES, Head
from torchrl_lite.policies.own_modules import foreign_modules
from torchrl_lite.policies.policy import Policy
from torchrl_lite.policies.stable_baselines3 import Sb3Policy, read_sb3_policy
from torchrl_lite.types import Spec


@default_settings()
def load_policy(
    source: str | Path, *, task: str | None = None, trust_imports: bool = False
) -> Policy:
    """The policy of this name, run directory or file; a path that exists wins.

    ``source``: a shipped policy such as ``"door-open-v3"``; ``"hf://USER/NAME"``, a policy on the
    Hugging Face Hub (extra ``[hub]``); a run directory, for its best
    weights, or its newest if it was never evaluated; a checkpoint; a policy file; a zip of
    Stable-Baselines3. A zip does not name its environment: ``task`` does, a Meta-World task or an
    id of Gymnasium. ``trust_imports`` allows the file to name packages to import; a run directory
    of one's own may do so without it (`foreign_modules`).

    Raises:
        UserError: there is no such source, its configuration is invalid, or it names packages to
            import and is not trusted; its shapes are not those of its tasks.
        CheckpointError: it is damaged, or holds no policy.
    """
    path = _find(source)
    run = Path(source) if Path(source).is_dir() else None
    if path.suffix == policy_file.SUFFIX:
        return _of_policy_file(path, trust_imports=trust_imports)
    try:
        content = read_bytes(path, most=MAX_BYTES)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason(error)})") from None
    agent = read_sb3_policy(content, path)
    if agent is not None:
        return _of_sb3(agent, path, task)
    return _of_checkpoint(
        files.load(path, BytesIO(content)), path, run, trust_imports=trust_imports
    )


def _find(source: str | Path) -> Path:
    if isinstance(source, str) and source.startswith(hub.SCHEME):
        return hub.download(source)
    path = Path(source)
    if path.is_dir():
        return weights_of(path)
    if path.is_file():
        return path
    if str(source) in shipped.names():
        return shipped.find(str(source))
    hint = nearest(str(source), shipped.names())
    raise UserError(f"{path}: there is no such file, run directory or shipped policy{hint}")


def _of_policy_file(path: Path, *, trust_imports: bool) -> Policy:
    file = policy_file.read(path)
    if not trust_imports:
        check_imports(file.config.env.imports, path)
    spec = _spec(file.config, path)
    for task, shape in spec.shapes.items():
        _check_sizes(path, task, file.spec.shapes[task], shape)
    header = file.header
    return Policy(
        actor=file.actor(),
        config=file.config,
        spec=spec,
        frames=header.frames,
        seed=header.seed,
        versions=header.versions,
        origin=header.origin,
    )


def _of_sb3(agent: Sb3Policy, path: Path, task: str | None) -> Policy:
    if task is None:
        raise UserError(f"--task: {path} does not name its environment; give its task")
    known = [*metaworld.TASKS, *gym.registry]
    if task not in known:
        raise UserError(
            f"--task: {task!r} is neither a Meta-World v3 task nor a Gymnasium id"
            f"{nearest(task, known)}"
        )
    suite = "metaworld" if task in metaworld.TASKS else "gymnasium"
    tree = {
        "env": {"suite": suite, "tasks": [task]},
        "net": {"hidden_shapes": agent.hidden_shapes},
        agent.algo: {} if agent.is_gaussian else {"noise_std": 0},  # a zip names no noise
    }
    config = check(tree, algo=agent.algo, sections=SECTIONS, source=str(path))
    spec = _spec(config, path)
    _check_sizes(path, task, [agent.obs_dim, agent.act_dim], spec.shapes[task])
    check_tensors(agent.body, config, spec, path)
    return Policy(actor_of(agent.body, config, spec), config, spec, agent.frames)


def _spec(config: Config, path: Path) -> Spec:
    """
    Raises:
        UserError: the file names an environment that cannot be made.
    """
    try:
        return make_spec(config.env)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _check_sizes(path: Path, task: str, mine: list[int], theirs: list[int]) -> None:
    if mine != theirs:
        raise UserError(
            f"{path}: is for observations of {mine[0]} and actions of {mine[1]} dimensions; "
            f"{task} has {theirs[0]} and {theirs[1]}"
        )


def _of_checkpoint(
    state: dict[str, Any], path: Path, run: Path | None, *, trust_imports: bool
) -> Policy:
    tree = state.get("config")
    if not isinstance(tree, dict) or not state.keys() & {"networks", "learner"}:
        raise CheckpointError(
            f"{path}: cannot be played, since it has no configuration (tasks, sizes of networks) "
            "with its weights; --init_from can start a run from an actor's weights, and that run "
            "can be played"
        )
    config = check(tree, algo=tree.get("algo"), sections=SECTIONS, source=str(path))
    if not trust_imports:
        names = config.env.imports
        check_imports(names if run is None else foreign_modules(run, names), path)
    head = check_state(Head, state, path)
    spec = _spec(config, path)
    tensors = {
        name.removeprefix("actor."): tensor
        for name, tensor in (head.weights or {}).items()
        if name.startswith("actor.")
    }
    check_tensors(tensors, config, spec, path)
    actor = actor_of(tensors, config, spec)
    versions = read_versions(path.parent.parent)
    seed, packages = (1, {}) if versions is None else (versions.seed, versions.others)
    return Policy(actor, config, spec, head.total_frames, seed, packages, head.origin)
