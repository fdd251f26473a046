"""Films: pictures with a frame rate, what is written in them, and their files."""

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import imageio.v3 as imageio
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from torchrl_lite.errors import UserError

SUFFIXES = (".mp4", ".gif")


def check_film(path: Path) -> None:
    """
    Raises:
        UserError: the suffix is not that of a film.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"--video: {path.name!r} must end in one of {', '.join(SUFFIXES)}")


SIZE, TILE = 480, 240
"""Side of a film's pictures in pixels, of one task and of each of several."""
GREEN, GREY = (120, 230, 120), (200, 200, 200)


class Film(NamedTuple):
    """Pictures, upright, and pictures per second."""

    pictures: Sequence[UInt8[ndarray, "H W 3"]]
    fps: int


def titled(
    picture: UInt8[ndarray, "H W 3"], size: int, name: str, *, success: float | None
) -> UInt8[ndarray, "size size 3"]:
    """The picture as a square, with a name and whether the episode has succeeded; None if the
    environment does not say."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    if image.size != (size, size):
        image = ImageOps.pad(image, (size, size))
    letters = max(10, size // 24)
    font, height = ImageFont.load_default(letters), round(1.5 * letters)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, size, height), fill=(30, 30, 30))
    status, color = ("success", GREEN) if success else ("no success yet", GREY)
    if success is None:
        status = ""
    draw.text((size - 6, height // 2), status, font=font, fill=color, anchor="rm")
    room = size - 16 - int(draw.textlength(status, font))
    draw.text((6, height // 2), _fitting(name, room, font), font=font, anchor="lm")
    return np.asarray(image)


def _fitting(text: str, room: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """As much of the text as fits into so many pixels."""
    while text and font.getlength(text) > room:
        text = text[:-1]
    return text


def tiled(films: Sequence[Film]) -> Film:
    """Films of the same size and rate in one, side by side; one that ends shows its last picture
    until all have."""
    if len(films) == 1:
        return films[0]
    columns = math.ceil(math.sqrt(1.6 * len(films)))  # about as wide as a screen
    rows = math.ceil(len(films) / columns)
    blank = np.zeros_like(films[0].pictures[0])
    pictures = []
    for index in range(max(len(film.pictures) for film in films)):
        tiles = [film.pictures[min(index, len(film.pictures) - 1)] for film in films]
        tiles += [blank] * (rows * columns - len(tiles))
        lines = [np.hstack(tiles[row * columns : (row + 1) * columns]) for row in range(rows)]
        pictures.append(np.vstack(lines))
    return Film(pictures, films[0].fps)


def write_film(path: Path, film: Film) -> None:
    """Writes a .gif or .mp4 file, by its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gif":
        path.write_bytes(as_gif(film))
    else:
        imageio.imwrite(path, list(film.pictures), fps=film.fps, codec="libx264")


def as_gif(film: Film, *, reduced: int = 1) -> bytes:
    """An animated GIF; ``reduced`` divides its size.

    All pictures share one palette, without dithering: noise that differs between pictures would
    make the file sixteen times as large.
    """
    small = [Image.fromarray(picture).reduce(reduced) for picture in film.pictures]
    sample = np.concatenate([picture[::8, ::8] for picture in film.pictures])
    palette = Image.fromarray(sample).quantize(256)
    first, *rest = [
        picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in small
    ]
    file = BytesIO()
    milliseconds = 1000 // film.fps
    first.save(file, "GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0)
    return file.getvalue()
