"""``play.py --render human`` without a display."""

import pytest

from torchrl_lite.errors import UserError
from torchrl_lite.policies import film
from torchrl_lite.policies.load import load_policy


def test_rendering_without_a_display_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":4321")
    with pytest.raises(UserError, match=r"--render: cannot open a window \(X11: .*--video"):
        film.check_window(load_policy("drawer-close-v3").config.env, seed=1, tasks=[0], camera=None)
