"""Films: pictures with a frame rate, and their files."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import imageio.v3 as imageio
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from torchrl_lite.errors import UserError

SUFFIXES = (".mp4", ".gif")


def check_film(path: Path) -> None:
    """
    Raises:
        UserError: the suffix is not that of a film.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"--video: {path.name!r} must end in one of {', '.join(SUFFIXES)}")


class Film(NamedTuple):
    """Pictures, upright, and pictures per second."""

    pictures: Sequence[UInt8[ndarray, "H W 3"]]
    fps: int


def write_film(path: Path, film: Film) -> None:
    """Writes a .gif or .mp4 file, by its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gif":
        path.write_bytes(as_gif(film))
    else:
        imageio.imwrite(path, list(film.pictures), fps=film.fps, codec="libx264")


def as_gif(film: Film) -> bytes:
    """An animated GIF at half the resolution.

    All pictures share one palette, without dithering: noise that differs between pictures would
    make the file sixteen times as large.
    """
    small = [Image.fromarray(picture[::2, ::2]) for picture in film.pictures]
    sample = np.concatenate([picture[::8, ::8] for picture in film.pictures])
    palette = Image.fromarray(sample).quantize(256)
    first, *rest = [
        picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in small
    ]
    file = BytesIO()
    milliseconds = 1000 // film.fps
    first.save(file, "GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0)
    return file.getvalue()
