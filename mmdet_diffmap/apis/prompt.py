# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The text that a text-prompted detector is asked with."""
from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmdet.evaluation import get_classes
from torch import nn

from ..tracing.detector import unwrapped
from ..tracing.prompts import check_asked, names_something

#: What stands before the name of a data set whose classes are looked for.
CLASSES_OF = '$:'
#: What stands between phrases.
SEPARATOR = ' . '
#: What a data sample says of its prompt, by the names of mmdet's pipelines.
PROMPT_KEYS = ('text', 'custom_entities', 'tokens_positive')
#: Of ``tokens_positive``, the whole text as one phrase.
WHOLE_TEXT = -1


@dataclass(frozen=True)
class Prompt:
    """What a detector is to look for, in mmdet's own syntax.

    Args:
        text (str | Sequence[str]): A text, or phrases, such as names of
            things. ``$: coco`` are the classes of a data set.
        custom_entities (bool): Whether the text is phrases with `` . ``
            between them, which are kept one by one. Otherwise its noun phrases
            are looked for, which takes nltk and its data.
        tokens_positive (int | Sequence, optional): The phrases, by where they
            stand in the text: of each one or more pairs of characters, the
            first and the one after the last; or -1 for the whole text as one
            phrase, of detectors that can take it.

    Raises:
        ValueError: If the text or a phrase is empty, or has no such
            characters, or there is no such data set.

    Example:
        >>> Prompt('a red car . a dog', custom_entities=True).text
        ('a red car', 'a dog')
        >>> Prompt('$: voc').text[:2]
        ('aeroplane', 'bicycle')
    """
    text: str | Sequence[str]
    custom_entities: bool = False
    tokens_positive: Any = None

    def __post_init__(self) -> None:
        text = self.text
        if isinstance(text, str) and text.startswith(CLASSES_OF):
            text = classes_of_data_set(text.removeprefix(CLASSES_OF).strip())
        elif isinstance(text, str) and self.custom_entities:
            # in parts (test_cfg.chunked_size), mmdet would take its letters
            text = phrases_in(text)
        if not isinstance(text, str):
            text = tuple(text)
            if not all(isinstance(name, str) for name in text):
                raise ValueError('a prompt is a text, or names of things, not '
                                 f'{text!r}')
        object.__setattr__(self, 'text', text)  # as a frozen class does
        if not ''.join(text).strip(' .'):
            raise ValueError('the text is empty: name what to look for')
        for phrase in () if isinstance(text, str) else text:
            if not names_something(phrase):
                reason = ', since mmdet leaves out what is in parentheses'
                raise ValueError(f'the phrase {phrase!r} names nothing'
                                 f'{reason * ("(" in phrase)}')
        if self.tokens_positive is not None:
            self._check_tokens()

    def _check_tokens(self) -> None:
        if not isinstance(self.text, str) or self.custom_entities:
            raise ValueError('tokens_positive are places in a text: give it '
                             'without custom entities or names')
        if self.tokens_positive == WHOLE_TEXT:
            return
        try:
            places = [(int(start), int(end))
                      for phrase in self.tokens_positive
                      for start, end in phrase]
        except (TypeError, ValueError) as error:
            raise ValueError(
                'tokens_positive must be -1, or of each phrase a list of '
                'pairs of characters, such as [[[0, 9]], [[12, 17]]], not '
                f'{self.tokens_positive!r}') from error
        if not places or not all(map(len, self.tokens_positive)):
            raise ValueError('tokens_positive has a phrase without a place: '
                             f'{self.tokens_positive!r}')
        for start, end in places:
            if not 0 <= start < end <= len(self.text):
                raise ValueError(
                    f'tokens_positive [{start}, {end}] is no part of the '
                    f'text, which has {len(self.text)} characters')

    @classmethod
    def of(cls, prompt: PromptLike) -> Prompt | None:
        """Make a prompt of a text, or of names; None stays None."""
        return prompt if prompt is None or isinstance(prompt, Prompt) else \
            cls(prompt)

    def entries(self) -> dict[str, Any]:
        """Return what goes into the dict that a test pipeline gets, and so
        into the data sample."""
        return dict(text=self.text,
                    custom_entities=not isinstance(self.text, str),
                    tokens_positive=self.tokens_positive)

    def described(self) -> str:
        """Write it in a line, to be read by people."""
        if not isinstance(self.text, str):
            return f'{SEPARATOR.join(self.text)} (phrases)'
        if self.tokens_positive is not None:
            return f'{self.text} (tokens_positive={self.tokens_positive})'
        return self.text


PromptLike = Prompt | str | Sequence[str] | None


def phrases_in(text: str) -> tuple[str, ...]:
    """Divide a text into its phrases where mmdet does, at a full stop with a
    space behind it.

    >>> phrases_in('a red car . a dog .')
    ('a red car', 'a dog')
    """
    parts = text.strip('. ').split('. ')
    return tuple(part.strip() for part in parts if part.strip())


def with_texts(sources: list, texts: str | list | None,
               stuff_texts: str | list | None, custom_entities: bool,
               tokens_positive: int | list | None) -> list:
    """Return the inputs as mmdet's pipelines take them, with their texts.

    Raises:
        ValueError: If there is not one text for each image.
    """
    if texts is None:
        return sources
    made = []
    for number, source in enumerate(sources):
        kind = 'img_path' if isinstance(source, str) else 'img'
        made.append({
            kind: source,
            **Prompt(text_of(texts, number, len(sources)), custom_entities,
                     tokens_positive).entries()
        })
        if stuff_texts is not None:
            made[-1]['stuff_text'] = text_of(stuff_texts, number, len(sources))
    return made


def text_of(texts: str | list, number: int, count: int) -> Any:
    """Return the text of one of ``count`` images."""
    if isinstance(texts, str):
        return texts
    if len(texts) != count:
        raise ValueError(f'there are {len(texts)} texts for {count} images: '
                         'give one for each, or one for all; names of things '
                         'for one image are a list of their own')
    return texts[number]


def read_tokens_positive(text: str) -> Any:
    """Read ``tokens_positive`` as it is written in Python.

    Raises:
        ValueError: If it is no value.
    """
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        raise ValueError(f'tokens_positive {text!r} is no list: write it as '
                         '"[[[0, 9]], [[12, 17]]]", or -1') from error


def classes_of_data_set(name: str) -> tuple[str, ...]:
    """Return the names of a data set's classes.

    Raises:
        ValueError: If mmdet knows no such data set.
    """
    try:
        return tuple(get_classes(name))
    except ValueError as error:
        raise ValueError(f'mmdet knows no data set {name!r}: take coco, '
                         'voc, lvis, cityscapes …') from error


def check_prompt(model: nn.Module, prompt: Prompt | None) -> None:
    """Raise a ValueError for a detector without the text that it needs, or
    with one that it cannot take."""
    check_asked(unwrapped(model), prompt is not None)
