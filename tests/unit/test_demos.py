"""Demonstrations: recording, files, batches, behaviour cloning and resume."""

import hashlib
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import (
    CPU,
    FULL,
    filled_buffer,
    make_learner,
    make_spec,
    random_batch,
    random_block,
    random_noise,
    record_gradients,
    run_updates,
)
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from safetensors.torch import load_file, save_file
from tiny_runs import ROOT, assert_same_run, one_line, run_starter, short, state_of

from torchrl_lite.algo.cloning import bc_loss
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.algo.reward_scale import ReturnScale
from torchrl_lite.algo.sampler import SymmetricSampler
from torchrl_lite.command import demos as starter
from torchrl_lite.command.launch import main
from torchrl_lite.config import EnvConfig
from torchrl_lite.demos.expert import record
from torchrl_lite.demos.file import Demonstrations, read, write
from torchrl_lite.env.goals import goals
from torchrl_lite.env.make import make_spec as spec_of
from torchrl_lite.errors import UserError
from torchrl_lite.training.imitation import with_demos

TASKS = ["reach-v3", "drawer-close-v3"]
FRAMES, EPISODES = 12, 3


def env_config(tasks: list[str] = TASKS, **changes: Any) -> EnvConfig:
    fields = {"tasks": tasks, "num_envs": len(tasks), "max_episode_frames": FRAMES} | changes
    return EnvConfig.model_validate(fields)


@pytest.fixture(scope="module")
def recorded() -> Demonstrations:
    return record(env_config(), episodes=EPISODES, seed=3)


@pytest.fixture(scope="module")
def file(recorded: Demonstrations, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demos") / "two.safetensors"
    write(path, recorded)
    return path


# --- files ---------------------------------------------------------------------------------------


def test_recorded_transitions_match_stock_meta_world(recorded: Demonstrations) -> None:
    for task in TASKS:
        env: Any = ALL_V3_ENVIRONMENTS[task](reward_function_version="v2")
        block, row = recorded.tensors[task], 0
        for episode in range(EPISODES):
            env.set_task(goals(task, 3)[episode * 50 // EPISODES])
            obs, _ = env.reset()
            for frame in range(FRAMES):
                assert np.array_equal(block.obs[row], obs.astype(np.float32))
                assert block.first[row] == (frame == 0)
                obs, reward, *_ = env.step(block.act[row].numpy())
                assert np.array_equal(block.next_obs[row], obs.astype(np.float32))
                assert block.rew[row] == np.float32(reward)
                row += 1
        assert row == len(block.rew)
        assert block.cont.all()
        env.close()
    first = recorded.header.episodes[0]
    told = f"return {np.mean(first.returns):.1f}"
    assert recorded.header.seed == 3 and recorded.lines()[0].endswith(told)


def test_an_episode_is_recorded_once_for_each_goal() -> None:
    demos = record(env_config(TASKS[:1], num_goals=2), episodes=5, seed=3)
    (evaluation,) = demos.header.episodes
    assert len({*evaluation.returns}) == len(evaluation.returns) == 2


def test_wrappers_and_hidden_goals_do_not_change_what_the_expert_does(
    recorded: Demonstrations,
) -> None:
    wrappers = [{"name": "RescaleObservation"}, {"name": "FrameStackObservation", "stack_size": 2}]
    seen = record(env_config(wrappers=wrappers, hide_goal=True), episodes=EPISODES, seed=3)
    for task in TASKS:
        plain, block = recorded.tensors[task], seen.tensors[task]
        assert torch.equal(block.act, plain.act)
        assert torch.equal(block.rew, plain.rew)
        assert block.obs.shape == (len(plain.rew), 78)
        assert not block.obs[:, [36, 37, 38, 75, 76, 77]].any()
    with pytest.raises(UserError, match=r"env\.wrappers .*'RescaleObservation'.*run \[\]"):
        seen.check_fit(env_config(), make_spec(), "x")


def test_time_aware_demonstrations_need_the_same_time_limit() -> None:
    timed = [{"name": "TimeAwareObservation", "normalize_time": True}]
    for wrappers, fits in ((timed, False), ([], True)):
        demos = record(env_config(wrappers=wrappers), episodes=1, seed=3)
        longer = env_config(wrappers=wrappers, max_episode_frames=FRAMES + 1)
        with nullcontext() if fits else pytest.raises(UserError, match="max_episode_frames"):
            demos.check_fit(longer, spec_of(longer), "x")


def test_demonstrations_round_trip_through_a_file(
    recorded: Demonstrations, file: Path, tmp_path: Path
) -> None:
    again = read(file)
    assert again.header == recorded.header
    assert again.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    for task in TASKS:
        for ours, theirs in zip(recorded.tensors[task], again.tensors[task], strict=True):
            assert torch.equal(ours, theirs)
    write(tmp_path / "again", again)
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


Edit = Callable[[dict, dict], object]


def write_edited(file: Path, path: Path, edit: Edit) -> None:
    """Writes a copy with edited tensors or header."""
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["demonstrations"])
    tensors = load_file(file)
    edit(tensors, header)
    save_file(tensors, path, metadata={"demonstrations": json.dumps(header)})


def replaced(**fields: torch.Tensor) -> Edit:
    return lambda tensors, _: tensors.update(
        {f"reach-v3/{name}": tensor for name, tensor in fields.items()}
    )


INVALID: list[tuple[Edit, str]] = [
    (lambda tensors, _: tensors.pop("reach-v3/rew"), "lacks reach-v3/rew"),
    (lambda tensors, _: tensors["reach-v3/act"].mul_(2), "reach-v3/act leaves [-1, 1]"),
    (lambda tensors, _: tensors["reach-v3/obs"].fill_(np.nan), "reach-v3/obs is not finite"),
    (lambda tensors, _: tensors["reach-v3/first"].zero_(), "reach-v3/first does not match"),
    (replaced(cont=torch.ones(5)), "reach-v3/cont is torch.float32 [5]"),
    (replaced(obs=torch.zeros(36), next_obs=torch.zeros(36)), "reach-v3/obs is torch.float32 [36]"),
    (replaced(obs=torch.zeros(36, 7), next_obs=torch.zeros(36, 7)), "observations of 7"),
    (replaced(act=torch.zeros(36, 0)), "actions of 0"),
    (lambda _, header: header.update(format=2), "header: format"),
    (lambda _, header: header["env"].update(reward_version="v1"), "env.reward_version 'v1'"),
    (lambda _, header: header["episodes"].append(header["episodes"][0]), "a task is named twice"),
]


@pytest.mark.parametrize(("edit", "message"), INVALID, ids=[message for _, message in INVALID])
def test_an_invalid_file_is_a_one_line_error(
    edit: Edit,
    message: str,
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "wrong.safetensors"
    write_edited(file, path, edit)
    assert main("sac", ["--task", "reach-v3", *short(tmp_path, train__demos=str(path))]) == 2
    one_line(capsys.readouterr().err, "train.demos", str(path), message)
    assert not (tmp_path / "x").exists()


def test_missing_truncated_and_unrelated_files_are_one_line_errors(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = tmp_path / "half.safetensors"
    half.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    policy = ROOT / "pretrained" / "door-open-v3.safetensors"
    given: list[tuple[str, Path, str]] = [
        ("reach-v3", tmp_path / "nothing", "cannot be read"),
        ("reach-v3", tmp_path, "cannot be read (Is a directory)"),
        ("reach-v3", half, "damaged"),
        ("reach-v3", policy, "no demonstrations"),
        ("drawer-open-v3", file, "no demonstrations of drawer-open-v3"),
    ]
    for task, path, message in given:
        assert main("sac", ["--task", task, *short(tmp_path, train__demos=str(path))]) == 2
        one_line(capsys.readouterr().err, "train.demos", message)


# --- batches -------------------------------------------------------------------------------------


def test_half_of_each_tasks_batch_comes_from_its_demonstrations() -> None:
    """They use the scale of collected rewards, and n-step returns stay within each buffer."""
    spec = make_spec(3)
    buffers = [ReplayBuffer(spec, 50, CPU, copies=copies) for copies in (2, 1)]
    for index, buffer in enumerate(buffers):
        buffer.add_block(random_block(spec, 20 + index, buffer.copies, seed=index), [0, 1, 2])
    pick, task = torch.rand(2, 10, dtype=torch.float64), torch.tensor([2, 0])
    parts = zip(buffers, (pick[:, 5:], pick[:, :5]), strict=True)
    halves = [buffer.sample(own, task, discount=0.9, n_step=3) for buffer, own in parts]
    sampler = SymmetricSampler(*buffers)
    buffers[0].reward_scale.copy_(torch.tensor([1.0, 2.0, 3.0]))
    batch = sampler.sample(pick, task, discount=0.9, n_step=3)
    for name in ("obs", "act", "rew", "next_obs", "discount"):
        expected = torch.cat([getattr(half, name) for half in halves], dim=1)
        if name == "rew":
            expected *= torch.tensor([[3.0], [1.0]])
        torch.testing.assert_close(getattr(batch, name), expected)


def test_the_return_scale_includes_the_demonstrations(recorded: Demonstrations) -> None:
    spec = make_spec(2, obs_dim=41, act_dim=4)._replace(tasks=tuple(reversed(TASKS)))
    spec = spec._replace(obs_dims=(39, 41))  # padded
    buffer = ReplayBuffer(spec, 100, CPU, copies=4)
    scale = ReturnScale(2, 4, discount=0.9, bound=5.0)
    sampler = with_demos(buffer, recorded, make_learner("sac", spec), scale=scale)
    for index, task in enumerate(spec.tasks):
        block = recorded.tensors[task]
        total, largest = 0.0, 0.0
        for rew, first in zip(block.rew.tolist(), block.first.tolist(), strict=True):
            total = 0.9 * (1 - first) * total + rew
            largest = max(largest, abs(total))
        assert buffer.reward_scale[index].item() == pytest.approx(5 / largest, rel=1e-6)
        rows = sampler.demos.rows(index, 0)
        assert torch.equal(rows[:, :39], block.obs)
        assert not rows[:, 39:41].any()
        assert torch.equal(rows[:, 41:45], block.act)
    before = buffer.reward_scale.clone()
    quiet = random_block(spec, 5, 4)
    quiet.first[:, 0] = 1
    scaled = scale.update(quiet._replace(rew=torch.zeros_like(quiet.rew)), [0, 1])
    assert torch.equal(scaled, before)  # no return continues from a demonstration


def test_observation_statistics_include_the_demonstrations_before_imitation(
    recorded: Demonstrations,
) -> None:
    """Otherwise the first epoch's statistics would ruin a policy cloned on raw observations."""
    spec = make_spec(2, obs_dim=39, act_dim=4)._replace(tasks=tuple(TASKS))
    learner = make_learner("sac", spec, net={"normalize_obs": True})
    with_demos(ReplayBuffer(spec, 100, CPU), recorded, learner, scale=None)
    for index, task in enumerate(TASKS):
        obs = recorded.tensors[task].obs.double()
        for network in (learner.actor, learner.critic, learner.target):
            mean, var = network.normalizer.mean[0, index], network.normalizer.var[0, index]
            torch.testing.assert_close(mean, obs.mean(0).float())
            torch.testing.assert_close(var, obs.var(0, correction=0).float())


# --- imitation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("algo", ["sac", "td3", "ddpg"])
def test_bc_weight_adds_the_gradient_of_the_squared_error(algo: str) -> None:
    batch = random_batch(make_spec(2), batch_size=8)
    plain, imitating = (
        make_learner(algo, make_spec(2), dtype=torch.float64, bc_weight=weight)
        for weight in (0.0, 0.7)
    )
    act = imitating.actor.act(batch.obs, batch.task)[:, 4:]
    loss = ((act - batch.act[:, 4:]) ** 2).sum(-1).mean(1)  # per task
    wanted = torch.autograd.grad(0.7 * loss.mean(), list(imitating.actor.parameters()))
    grads = []
    for learner in (plain, imitating):
        seen = record_gradients(learner)
        metrics = learner.update(batch, random_noise(batch), FULL)
        grads.append(seen["actor"])
    for without, both, extra in zip(*grads, wanted, strict=True):
        torch.testing.assert_close(both - without, extra)
    torch.testing.assert_close(metrics["bc_loss"], loss.detach())
    assert "bc_loss" in imitating.METRICS
    assert "bc_loss" not in plain.METRICS
    with pytest.raises(ValueError, match="bc_weight: needs a buffer with demonstrations"):
        imitating.run(filled(), [0], opt_steps=1, batch_size=4)


def filled() -> ReplayBuffer:
    buffer = ReplayBuffer(make_spec(2), 64, CPU)
    block = random_block(make_spec(2), 64)
    buffer.add_block(block._replace(act=block.act.tanh() * 0.9), [0, 1])
    return buffer


def test_imitation_fits_the_actions_and_changes_only_the_actor() -> None:
    learner = make_learner("td3", make_spec(2), hidden=(64, 64), plr=3e-3)
    demos = filled()
    everything = demos.batch(demos.data, torch.tensor([0, 1]), discount=0.9)
    critic = [p.clone() for p in learner.critic.parameters()]
    before = bc_loss(learner.actor, everything, demos=64)
    learner.imitate(demos, updates=300, batch_size=32)
    after = bc_loss(learner.actor, everything, demos=64)
    assert (after < 0.2 * before).all()
    assert all(map(torch.equal, learner.critic.parameters(), critic))
    assert all(map(torch.equal, learner.actor.parameters(), learner.target_actor.parameters()))
    learner.imitate(demos, updates=300, batch_size=32)  # already done: no effect
    assert torch.equal(bc_loss(learner.actor, everything, demos=64), after)
    assert (learner.imitations, learner.updates) == (300, 0)


# --- runs ----------------------------------------------------------------------------------------


def two_task_flags(log_dir: Path, demos: Path, *flags: object) -> list[str]:
    env = {"tasks": TASKS, "num_envs": 4, "group_size": 2, "reward_normalization": "return"}
    fields: dict[str, Any] = {f"env__{key}": value for key, value in env.items()}
    fields["env__name"] = "two"
    fields |= {"train__demos": str(demos), "train__bc_updates": 4, "sac__bc_weight": 0.5}
    fields |= {"train__num_epochs": 4, "train__n_step": 3, "net__critic": {"kind": "hl_gauss"}}
    return short(log_dir, "--config", "mt3", *flags, **fields)


def test_a_run_resumes_bit_identically_and_only_with_its_demonstrations(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "own.safetensors"
    copy.write_bytes(file.read_bytes())
    assert main("sac", two_task_flags(tmp_path / "whole", copy), multi_task=True) == 0
    whole, cut = (tmp_path / name / "x" / "two" / "1" for name in ("whole", "cut"))
    flags = two_task_flags(tmp_path / "cut", copy)
    assert main("sac", [*flags, "--until", "100"], multi_task=True) == 0
    assert state_of(cut)["epoch"] < 5
    capsys.readouterr()

    other = record(env_config(), episodes=EPISODES, seed=4)
    for content, message in ((None, "cannot be read"), (other, "is not what the run began with")):
        copy.unlink() if content is None else write(copy, content)
        assert main("sac", [*flags, "--resume"], multi_task=True) == 2
        one_line(capsys.readouterr().err, "train.demos", message)
    copy.unlink()
    moved = two_task_flags(tmp_path / "cut", file)
    assert main("sac", [*moved, "--resume"], multi_task=True) == 0
    assert_same_run(cut, whole)
    assert state_of(cut)["learner"]["imitations"] == 4


def test_the_starter_overwrites_nothing_and_needs_a_task_with_an_expert(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test of docs/demonstrations.md covers recording itself."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demos").mkdir()
    (tmp_path / "demos" / "reach-v3.safetensors").touch()
    for flags, message in (
        (["--task", "reach-v3"], "exists"),
        (["--task", "reech-v3"], "did you mean"),
        ([], "--task"),
        (["--config", "mujoco/halfcheetah"], "env.suite"),
    ):
        assert run_starter("demos", *flags) == 2
        one_line(capsys.readouterr().err, message)


@pytest.mark.parametrize("config", [(), ("--config", "mt10"), ("--config", "mt10_moore")])
@pytest.mark.parametrize("tasks", [TASKS[:1], [*TASKS, "push-v3"]], ids=len)
def test_the_starter_accepts_any_tasks_with_any_configuration(
    config: tuple[str, ...], tasks: list[str]
) -> None:
    flags = [*config, *(word for task in tasks for word in ("--task", task))]
    env = starter._env(starter.parse(flags))
    assert (env.tasks, env.num_envs) == (tasks, len(tasks))
    assert env.max_episode_frames == (500 if config else None)


@pytest.mark.minari
def test_minari_reads_every_episode(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    minari = pytest.importorskip("minari", reason="the extra [minari] is not installed")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    config = tmp_path / "short.json"
    config.write_text(json.dumps({"env": {"tasks": ["reach-v3"], "max_episode_frames": 5}}))
    argv = ["--config", config, "--episodes", 3, "--seed", 3, "--format", "minari"]
    assert run_starter("demos", *argv) == 0
    env = env_config(["reach-v3"], max_episode_frames=5)
    expected = record(env, episodes=3, seed=3).tensors["reach-v3"]
    dataset = minari.load_dataset("metaworld/reach-v3/expert-v0")
    episodes = list(dataset.iterate_episodes())
    assert (len(episodes), dataset.total_steps) == (3, 15)
    for episode, start in zip(episodes, (0, 5, 10), strict=True):
        rows = slice(start, start + 5)
        assert np.array_equal(episode.observations[:-1], expected.obs[rows])
        assert np.array_equal(episode.observations[1:], expected.next_obs[rows])
        assert np.array_equal(episode.actions, expected.act[rows])
        assert np.array_equal(episode.rewards, expected.rew[rows])
        assert episode.truncations.tolist() == [False] * 4 + [True]
        assert not episode.terminations.any()
    capsys.readouterr()
    assert run_starter("demos", *argv) == 2
    one_line(capsys.readouterr().err, "metaworld/reach-v3/expert-v0 exists")


def test_resumed_imitation_keeps_the_target_policy() -> None:
    learner, demos = make_learner("td3", make_spec(2)), filled_buffer(make_spec(2))
    learner.imitate(demos, updates=2, batch_size=8)
    run_updates(learner, 4)
    before = [parameter.clone() for parameter in learner.target_actor.parameters()]
    learner.imitate(demos, updates=2, batch_size=8)  # as a resumed run does
    assert all(map(torch.equal, learner.target_actor.parameters(), before))


def test_a_task_needs_collected_and_demonstrated_transitions() -> None:
    spec = make_spec(2)
    collected, demos = ReplayBuffer(spec, 50, CPU), ReplayBuffer(spec, 50, CPU)
    collected.add_block(random_block(spec, 5), [0])
    demos.add_block(random_block(spec, 5), [0, 1])
    assert [SymmetricSampler(collected, demos).holds(task) for task in (0, 1)] == [True, False]
