"""``play.py --render human`` on a virtual screen, and what it says where there is none."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from screen import Screen, virtual_screen

from torchrl_lite.errors import UserError
from torchrl_lite.policies import film
from torchrl_lite.policies.load import load_policy

NAME = "drawer-close-v3"


def test_without_a_screen_nothing_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":4321")
    with pytest.raises(UserError, match=r"--render: cannot open a window \(X11: .*--video"):
        film.check_window(load_policy(NAME).config.env, seed=1, tasks=[0], camera=None)


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    with virtual_screen(tmp_path) as shown:
        yield shown
