# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What each word of a text counts, as bars under the words."""
from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..tracing.word_scores import WordScores
from .colours import RGB, colour_table
from .drawing import INK, Drawing, font

BAR = 18  # height of the longest bar
LETTERS = 14  # size of the words
DIGITS = 11  # size of the numbers
LEAST = 34  # width of a word: room for a number
SPACE = 10  # between words
CAPTION = 20  # height of what is said above
LINE = LETTERS + 2 * BAR + DIGITS + 18  # height of a line of words
QUIET = (110, 110, 110)


def add_word_bars(drawing: Drawing, words: WordScores, left: int,
                  width: int) -> None:
    """Add a text with a bar under each word to a figure, below all that is
    there: up and in the colour of what speaks for the object, or down and in
    that of what speaks against it. The longest bar is that of the largest
    value, and numbers are shares of it.

    Args:
        drawing (Drawing): The figure.
        words (WordScores): Of one object.
        left (int): Where the text begins.
        width (int): How much room a line has.
    """
    caption, shares = shares_of(words)
    drawing.text((left, drawing.height), caption, 12, colour=QUIET)
    drawing.height += CAPTION
    for line in lines_of(shares, width):
        place = left
        zero = drawing.height + LETTERS + 6 + BAR
        for word, share in line:
            wide = word_width(word)
            middle = place + wide / 2
            drawing.text((middle, drawing.height), word, LETTERS, 'ma')
            add_bar(drawing, (place, zero), wide, share)
            drawing.text((middle, zero + BAR + 3), share_text(share), DIGITS,
                         'ma')
            place += wide + SPACE
        drawing.height += LINE


def shares_of(words: WordScores) -> tuple[str, list[tuple[str, float]]]:
    """Return what is said above the bars, and each word with its share of the
    largest value."""
    largest = float(words.values.abs().max()) if len(words.spans) else 0.0
    shares = (words.values / (largest or 1)).tolist()
    return (f'words, for and against its {words.output}; 1 is {largest:.2g}',
            list(zip(words.words, shares)))


def share_text(share: float) -> str:
    """Write a share.

    >>> share_text(-0.5)
    '−0.50'
    """
    return f'{share:+.2f}'.replace('-', '−')


def add_bar(drawing: Drawing, place: tuple[int, int], width: int,
            share: float) -> None:
    """Add a bar of a share in [-1, 1] and its line of zero, which begins at a
    place."""
    left, zero = place
    height = round(abs(share) * BAR)
    if height:
        add_rectangle(drawing, (left + 4, zero - height * (share > 0)),
                      (width - 8, height), colour_of(share))
    add_rectangle(drawing, (left, zero), (width, 1), INK)


def add_rectangle(drawing: Drawing, place: tuple[int, int],
                  size: tuple[int, int], colour: RGB) -> None:
    """Add a filled rectangle."""
    drawing.picture(place, np.array([[colour]], np.uint8), size)


def colour_of(share: float) -> RGB:
    """Return the colour of what speaks for, or against, an object."""
    red, green, blue = colour_table(True)[-32 if share > 0 else 31].tolist()
    return red, green, blue


def word_width(word: str) -> int:
    """Return how much room a word takes in a line."""
    return max(LEAST, round(font(LETTERS).getlength(word)) + 4)


def lines_of(words: list[tuple[str, float]],
             width: int) -> Iterator[list[tuple[str, float]]]:
    """Divide words into lines of at most a width, but for a single word."""
    line: list[tuple[str, float]] = []
    room = width
    for word in words:
        needed = word_width(word[0]) + SPACE
        if line and needed > room:
            yield line
            line, room = [], width
        line.append(word)
        room -= needed
    if line:
        yield line
