# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A strip that says what a picture shows and what its colours mean."""
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .drawing import INK, PAPER

#: Space around what is written, in pixels.
MARGIN = 6


def legend_strip(width: int, text: str, colours: np.ndarray,
                 ends: tuple[str, str],
                 letters: ImageFont.FreeTypeFont) -> np.ndarray:
    """Draw a text, and a colour bar with its ends named.

    They stand side by side, or one below the other where the text would have
    less than half of the width. The height follows from the width, the ends
    and the font, and not from the text: it is the same in all frames of a
    video. A text that is too long ends in an ellipsis.

    Args:
        width (int): Of the strip, in pixels.
        text (str): What the picture shows.
        colours (np.ndarray): Of the bar from left to right, RGB, uint8 (N, 3).
        ends (tuple[str, str]): What the first and the last colour mean.
        letters (FreeTypeFont): The font.

    Returns:
        np.ndarray: RGB, uint8 (height, width, 3).
    """
    line = sum(letters.getmetrics())
    low, high = (round(letters.getlength(end)) for end in ends)
    bar = min(6 * line, max(line, width - low - high - 4 * MARGIN))
    key = low + bar + high + 2 * MARGIN
    room = width - key - 3 * MARGIN
    side_by_side = room >= width / 2
    top = MARGIN if side_by_side else line + 2 * MARGIN
    strip = Image.new('RGB', (width, top + line + MARGIN), PAPER)
    draw = ImageDraw.Draw(strip)
    draw.text((MARGIN, MARGIN),
              shortened(text, room if side_by_side else width - 2 * MARGIN,
                        letters), INK, letters)
    left = width - key - MARGIN if side_by_side else MARGIN
    draw.text((left, top), ends[0], INK, letters)
    left += low + MARGIN
    pixels = colours[np.linspace(0, len(colours) - 1, bar).round().astype(int)]
    strip.paste(Image.fromarray(np.tile(pixels, (line - 4, 1, 1))),
                (left, top + 2))
    draw.text((left + bar + MARGIN, top), ends[1], INK, letters)
    return np.asarray(strip)


def shortened(text: str, room: float, letters: ImageFont.FreeTypeFont) -> str:
    """Return as much of a text as fits into a width, in pixels."""
    if letters.getlength(text) <= room:
        return text
    length = len(text)
    while length and letters.getlength(f'{text[:length]}…') > room:
        length -= 1
    return f'{text[:length].rstrip()}…'
