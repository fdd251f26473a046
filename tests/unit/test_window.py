"""``play.py --render human`` on a virtual screen, and what it says where there is none."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import choose_renderer
from screen import Screen, virtual_screen

from torchrl_lite.env.make import make_env
from torchrl_lite.errors import UserError
from torchrl_lite.policies import film
from torchrl_lite.policies.load import load_policy

STARTER = Path(__file__).parents[2] / "starter" / "play.py"
NAME = "drawer-close-v3"
SHOW = f"""
from torchrl_lite import load_policy
from torchrl_lite.policies.film import Replay, watch
policy = load_policy({NAME!r})
print("whole:", watch(Replay(policy.config.env, policy.actor, 0, policy.seed), camera="corner"))
"""


def test_without_a_screen_nothing_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":4321")
    with pytest.raises(UserError, match=r"--render: cannot open a window \(X11: .*--video"):
        film.check_window(load_policy(NAME).config.env, seed=1, tasks=[0], camera=None)


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    with virtual_screen(tmp_path) as shown:
        yield shown


def start(screen: Screen, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command], text=True, env=os.environ | {"DISPLAY": screen.name},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def picture(screen: Screen, process: subprocess.Popen[str]) -> np.ndarray:
    """The first that shows more than a blank window."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        shown = screen.picture()[:480, :480].astype(float)
        if shown.std() > 10:
            return shown
        time.sleep(0.05)
    process.kill()
    pytest.fail(f"no window: {process.communicate()}")


def similarity(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@pytest.mark.slow
def test_a_window_shows_the_camera_the_right_way_up_until_it_is_closed(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_renderer(monkeypatch)
    process = start(screen, "-c", SHOW)
    shown = picture(screen, process)
    screen.close_window()
    assert process.communicate(timeout=60) == ("whole: False\n", "")
    assert process.returncode == 0
    likeness = {}
    for camera in ("corner", "corner2", "topview"):
        env = make_env("metaworld", NAME, seed=1, render_mode="rgb_array", camera=camera)
        env.reset(seed=0, options={"goal": 0})
        drawn = np.asarray(env.render(), dtype=float)
        env.close()
        likeness[camera] = similarity(shown, drawn)
        likeness[f"{camera} upside down"] = similarity(shown, drawn[::-1])
    assert max(likeness, key=likeness.__getitem__) == "corner", likeness
    assert likeness["corner"] > 0.95  # no menu lies over it


@pytest.mark.slow
def test_ctrl_c_ends_it_with_one_line(screen: Screen) -> None:
    process = start(
        screen, str(STARTER), "--pretrained", NAME, "--episodes", "1", "--render", "human"
    )
    picture(screen, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "stopped by SIGINT\n")
    assert NAME in out
