"""What ``play.py --render human`` says where there is no screen."""

import pytest

from torchrl_lite.errors import UserError
from torchrl_lite.policies import film
from torchrl_lite.policies.load import load_policy


def test_without_a_screen_nothing_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":4321")
    with pytest.raises(UserError, match=r"--render: cannot open a window \(X11: .*--video"):
        film.check_window(load_policy("drawer-close-v3").config.env, seed=1, tasks=[0], camera=None)
