# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The words of a text, and how much each counts."""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import category

from torch import Tensor

#: Words, and each punctuation mark, in what :func:`without_accents` gives;
#: together with spaces, all of it.
WORD = re.compile(r'\w[\w\0]*(?:[\'’-][\w\0]+)*|[^\w\s\0]\0*')
#: Where a word stands in a caption: its first character, and that after its
#: last.
Span = tuple[int, int]


@dataclass(frozen=True)
class WordScores:
    """How much each word of a text counts in an output of one detection.

    Args:
        caption (str): The text, as the language model got it.
        spans (tuple): Where each of its W words and punctuation marks stands,
            first character and the one after the last.
        values (Tensor): The gradient of the output times the text's features
            less their mean over the text, summed over channels and over the
            tokens of each word, shape (W, ): above zero what raises the
            output.
        rest (float): The same of tokens that are no part of the caption, such
            as the marks of its beginning and end.
        output (str): The output, such as ``score``.
    """
    caption: str
    spans: tuple[Span, ...]
    values: Tensor
    rest: float
    output: str

    @property
    def words(self) -> list[str]:
        """The words, in their order."""
        return [self.caption[start:end] for start, end in self.spans]

    def described(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return dict(caption=self.caption, output=self.output,
                    spans=self.spans, values=self.values.tolist(),
                    rest=self.rest)


def words_of(caption: str, tokens: Sequence[Span] = ()) -> tuple[Span, ...]:
    """Find the words and punctuation marks of a text; what a language model
    reads as one token is one word.

    Args:
        caption (str): The text.
        tokens (Sequence): Where the language model's tokens stand in it.

    >>> words_of('a dog.')
    ((0, 1), (2, 5), (5, 6))
    >>> words_of('5€ 👍', [(0, 2), (3, 4)])
    ((0, 2), (3, 4))
    """
    inside = {place for start, stop in tokens
              for place in range(start + 1, stop)}
    spans: list[Span] = []
    for match in WORD.finditer(without_accents(caption)):
        first, end = match.span()
        if spans and {spans[-1][1], first} <= inside:
            first, _ = spans.pop()
        spans.append((first, end))
    return tuple(spans)


def without_accents(text: str) -> str:
    """Return a text of the same length with zeros in the place of accents,
    vowel signs and all else that belongs to the letter before it."""
    return ''.join('\0' if category(letter) in ('Mn', 'Mc', 'Me', 'Cf')
                   else letter for letter in text)
