"""A virtual screen: what it shows, and what a user does to the window on it."""

import ctypes
import select
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_long, c_uint, c_ulong, c_void_p
from pathlib import Path

import numpy as np
import pytest

WIDTH, HEIGHT = 640, 480


class Screen:
    def __init__(self, name: str, pixels: Path) -> None:
        self.name, self._pixels = name, pixels

    def picture(self) -> np.ndarray:
        """[H, W, 3], read as the X window dump that Xvfb keeps of it."""
        dump = self._pixels.read_bytes()
        header, *_, colours = struct.unpack(">20I", dump[:80])
        start = header + 12 * colours  # of rows of four bytes: blue, green, red, nothing
        rows = np.frombuffer(dump, np.uint8, WIDTH * HEIGHT * 4, start)
        return rows.reshape(HEIGHT, WIDTH, 4)[..., 2::-1]

    def close_window(self) -> None:
        """What the window manager sends when a user presses a window's x."""
        x11 = ctypes.CDLL("libX11.so.6")
        x11.XOpenDisplay.restype = c_void_p
        x11.XOpenDisplay.argtypes = [c_char_p]
        x11.XDefaultRootWindow.restype = x11.XInternAtom.restype = c_ulong
        x11.XDefaultRootWindow.argtypes = x11.XCloseDisplay.argtypes = [c_void_p]
        x11.XInternAtom.argtypes = [c_void_p, c_char_p, c_int]
        x11.XQueryTree.argtypes = [c_void_p, c_ulong] + [c_void_p] * 4
        x11.XSendEvent.argtypes = [c_void_p, c_ulong, c_int, c_long, c_void_p]

        display = x11.XOpenDisplay(self.name.encode())
        ids, count, ignored = POINTER(c_ulong)(), c_uint(), c_ulong()
        x11.XQueryTree(display, x11.XDefaultRootWindow(display), byref(ignored), byref(ignored),
                       byref(ids), byref(count))  # fmt: skip
        protocols, delete = (
            x11.XInternAtom(display, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW")
        )
        for window in ids[: count.value]:
            # XClientMessageEvent: type, serial, by whom, display, window, atom, format, data
            event = struct.pack("iLiPLLi4xl16l", 33, 0, 1, display, window, protocols, 32, delete,
                                *[0] * 16)  # fmt: skip
            x11.XSendEvent(display, window, 0, 0, event)
        x11.XCloseDisplay(display)


@contextmanager
def virtual_screen(folder: Path) -> Iterator[Screen]:
    """Skips without Xvfb."""
    xvfb = shutil.which("Xvfb") or pytest.skip("Xvfb is not installed")
    process = subprocess.Popen(
        [xvfb, "-displayfd", "1", "-fbdir", str(folder), "-nolisten", "tcp",
         "-screen", "0", f"{WIDTH}x{HEIGHT}x24"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout and select.select([process.stdout], [], [], 60)[0]
        yield Screen(f":{process.stdout.readline().strip()}", folder / "Xvfb_screen0")
    finally:
        process.terminate()
        process.wait(30)
