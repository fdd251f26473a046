"""Films: pictures at a rate, and the files that hold them."""

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
    """Raises UserError where a film cannot be written under this name."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"--video: {path.name!r} ends in none of {', '.join(SUFFIXES)}")


class Film(NamedTuple):
    """Pictures, the right way up, and how many of them a second takes."""

    pictures: Sequence[UInt8[ndarray, "H W 3"]]
    fps: int


def write_film(path: Path, film: Film) -> None:
    """As .mp4, or as .gif."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gif":
        path.write_bytes(as_gif(film))
    else:
        imageio.imwrite(path, list(film.pictures), fps=film.fps, codec="libx264")


def as_gif(film: Film) -> bytes:
    """An animated picture of half the size, which is large enough.

    All pictures share their colours, undithered: noise that differs from picture to picture makes
    the file sixteen times as large.
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
