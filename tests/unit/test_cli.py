"""The ``torchrl-lite`` command, from any directory, and the help and errors of every starter."""

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from tiny_runs import ROOT, TINY, one_line, requested, run_starter, sets

from torchrl_lite import UserError
from torchrl_lite.algo.registry import ALGORITHMS
from torchrl_lite.cli import main as cli
from torchrl_lite.command import start

RUN_EACH_LINE = """
import io, json, runpy, sys
from contextlib import redirect_stderr, redirect_stdout
from torchrl_lite.cli.main import main

for line in sys.stdin:
    sys.argv[:] = json.loads(line)
    out, err = (io.TextIOWrapper(io.BytesIO()) for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        try:
            if sys.argv[0].endswith(".py"):
                runpy.run_path(sys.argv[0], run_name="__main__")
            code = main()
        except SystemExit as end:
            code = end.code
    output = [stream.seek(0) or stream.read() for stream in (out, err)]
    heavy = {"torch", "gymnasium", "metaworld", "ray", "optuna", "matplotlib"} & sys.modules.keys()
    print(json.dumps([code, *output, sorted(heavy)]))
"""
"""Runs the command or starter on each line of its input; prints its code, output and imports."""


def run(folder: Path, *words: str, code: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=folder,
        input=stdin,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


ANSWERS: dict[str, tuple[int, str]] = {
    "": (0, "usage: torchrl-lite COMMAND"),
    "--version": (0, "0."),
    "trian sac": (2, "did you mean 'train'?"),
    "train": (0, "sac|td3|ddpg"),
    "train sca": (2, "did you mean 'sac'?"),
    "train td3 --help": (0, "usage: torchrl-lite train td3"),
    "train sac --sed 1": (2, "did you mean '--seed'?"),
    "train sac --config mt11": (2, "did you mean 'mt10'?"),
    "play --help": (0, "usage: torchrl-lite play"),
    "plot --ou x": (2, "'--out'"),
    "sweep --help": (0, "usage: torchrl-lite sweep"),
    "bench envs": (2, "envs"),
}
STARTERS = sorted(map(str, (ROOT / "starter").glob("*.py")))


def test_help_and_usage_errors_import_nothing_heavy(tmp_path: Path) -> None:
    cases = [(["torchrl-lite", *words.split()], *answer) for words, answer in ANSWERS.items()]
    for starter in STARTERS:
        cases += [([starter, "--help"], 0, "usage: "), ([starter, "--no_such_flag"], 2, "error: ")]
    stdin = "".join(json.dumps(words) + "\n" for words, *_ in cases)
    done = run(tmp_path, code=RUN_EACH_LINE, stdin=stdin)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    for (words, code, expected), answer in zip(cases, answers, strict=True):
        assert (answer[0], answer[3]) == (code, []), words
        assert expected in answer[2 if code else 1], words
        assert len(answer[2].splitlines()) == (1 if code else 0), words


def test_the_cli_knows_every_algorithm() -> None:
    assert tuple(ALGORITHMS) == cli.ALGORITHMS


@pytest.mark.parametrize(
    ("words", "tasks"),
    [
        ("--task_id 3", 1),
        ("--config fast_st --task push-v3", 1),
        ("--config mt10", 10),
        ("--config mt10 --task push-v3", 1),
        ("--config curricula/mt10_progressive --stage 1", 10),
        ("--config mujoco/halfcheetah", 1),
    ],
)
def test_train_takes_one_task_or_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, tasks: int
) -> None:
    monkeypatch.chdir(tmp_path)
    config = requested(*words.split(), multi_task=None).config
    assert config.num_tasks == tasks
    assert config.curriculum is None or config.curriculum.first_stage == 1


def test_train_names_a_missing_task_or_curriculum() -> None:
    for words, message in (("--seed 1", "env.tasks"), ("--config mt10 --stage 1", "--stage")):
        with pytest.raises(UserError, match=message):
            requested(*words.split(), multi_task=None)


def test_a_module_in_the_current_directory_can_be_imported(tmp_path: Path) -> None:
    """By workers too, and although the command is installed elsewhere."""
    (tmp_path / "mine.py").write_text(
        "import gymnasium as gym\n"
        "from gymnasium.envs.classic_control import PendulumEnv\n"
        "gym.register('Mine-v0', entry_point=PendulumEnv, max_episode_steps=20)\n"
    )
    fields = TINY | {
        "env.suite": "gymnasium",
        "env.tasks": ["Mine-v0"],
        "env.imports": ["mine"],
        "env.num_envs": 2,
        "system.workers": 1,
    }
    script = Path(sys.executable).parent  # sys.path[0] of an installed command
    code = f"import sys; sys.path[0] = {str(script)!r}; from torchrl_lite.cli.main import main; "
    code += "sys.exit(main())"
    done = run(tmp_path, "train", "sac", *sets(fields), code=code)
    assert done.returncode == 0, done.stderr
    assert len([*tmp_path.rglob("result.json")]) == 1


def test_windows_is_rejected_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit) as end:
        start.begin()
    assert end.value.code == 2
    one_line(capsys.readouterr().err, "error: torchrl_lite needs Linux; on Windows, use WSL 2")


def test_a_notebook_is_told_to_use_a_shell_or_the_library(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    monkeypatch.setattr("signal.signal", Mock(side_effect=AssertionError))
    assert run_starter("plot", "log") == 2
    one_line(capsys.readouterr().err, "!python", "import torchrl_lite")
