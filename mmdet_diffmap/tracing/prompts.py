# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What a detector that is asked with a text makes of it: its phrases, which
its labels are, and the features of its words, by which the outputs can be
differentiated as by those of the image."""
from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import (
    ExitStack,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
)
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from mmdet.models.detectors.glip import clean_label_name
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from .nested import all_tensors, map_tensors
from .swapping import modules_with, swapped
from .target_layer import TargetLayer, depend
from .word_scores import Span, WordScores, words_of

if TYPE_CHECKING:
    from .trace import Trace

#: The module that mmdet's text-prompted detectors get their text's features
#: from, and its method that finds phrases in a text.
LANGUAGE_MODEL = 'language_model'
READING = 'get_tokens_positive_and_prompts'
#: The function that heads make the scores of phrases with.
CONVERTING = 'convert_grounding_to_cls_scores'
#: How phrases are given, where mmdet does not find them by itself.
AS_PHRASES = 'separate the phrases by " . " and give custom entities ' \
    '(--custom-entities)'


@dataclass(frozen=True)
class ReadPrompt:
    """What a detector has read.

    Args:
        caption (str): The text, as the language model got it; of several
            parts, one after the other.
        phrases (tuple[str]): What each label is; empty if the detector does
            not tell.
        spans (tuple): Where each word stands in the caption.
        places (list[Tensor]): For each tensor of features that the language
            model gave, the number of each token's word; W for tokens that are
            none. int64, shape (T, ), without padding.
        in_parts (bool): Whether it was read in several parts, by a run of the
            head for each.
    """
    caption: str = ''
    phrases: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    places: list[Tensor] = field(default_factory=list)
    in_parts: bool = False

    def word_scores(self, trace: Trace, output: str) -> list[WordScores]:
        """Compute what each word counts in an output of each detection.

        Args:
            trace (Trace): Of a run whose target layer is a
                :class:`TextLayer`.
            output (str): The output; see :meth:`Trace.output`.
        """
        sums = torch.zeros(len(trace), len(self.spans) + 1)
        for gradients in trace.gradients([output]):
            for level in gradients.levels:
                places = self.places[level.windows.level]
                slopes, features = (
                    maps[..., 0, :len(places)].cpu().float()
                    for maps in (level.gradients, level.feature))
                own = features - features.mean(dim=1, keepdim=True)  # (C, T)
                sums[list(level.windows.detections)] += torch.zeros(
                    len(slopes), len(self.spans) + 1).index_add_(
                        1, places, (slopes * own).sum(dim=1))
        return [WordScores(self.caption, self.spans, values[:-1],
                           float(values[-1]), output) for values in sums]


def language_model_of(model: Any) -> nn.Module | None:
    """Return the language model of a detector; None of one that takes no
    text."""
    module = getattr(model, LANGUAGE_MODEL, None)
    return module if isinstance(module, nn.Module) else None


def check_asked(model: Any, is_asked: bool) -> None:
    """Raise a ValueError for a detector without the text that it needs, or
    with one that it cannot take."""
    name = type(model).__name__
    takes_text = language_model_of(model) is not None
    if takes_text and not is_asked:
        raise ValueError(f'{name} looks for what a text names: give texts '
                         '(--texts; in Python, prompt)')
    if is_asked and not takes_text:
        raise ValueError(f'{name} has no language branch, so it cannot take '
                         'texts: leave them out')


def check_has_text(model: Any, sample: BaseDataElement) -> None:
    """Raise a ValueError for a data sample without the text that a detector
    needs."""
    if 'text' not in sample:
        check_asked(model, is_asked=False)


def names_something(phrase: str) -> bool:
    """Whether mmdet finds anything in a phrase: it leaves out what is in
    parentheses, and takes ``_`` for a space."""
    return bool(clean_label_name(phrase).strip(' .'))


def is_chunked(model: Any) -> bool:
    """Whether a detector takes a long text in parts, one after the other, for
    one image at a time."""
    return language_model_of(model) is not None and (
        model.test_cfg or {}).get('chunked_size', -1) > 0


class PromptReader:
    """Listens to what a detector reads in one run.

    Args:
        model (nn.Module): The detector.
    """

    def __init__(self, model: Any) -> None:
        self.language_model: Any = language_model_of(model)
        self.in_parts = is_chunked(model)
        self.phrases: tuple[str, ...] = ()
        #: Of each call of the language model, the caption and the number of
        #: tokens of each tensor of features.
        self.calls: list[tuple[str, list[int]]] = []

    def read(self, original: Callable, *args: Any, **kwargs: Any) -> Any:
        """Find the phrases of a text as the detector does.

        Raises:
            ValueError: If it finds none, does not know how, or mixes them up.
        """
        given = signature(original).bind(*args, **kwargs).arguments
        is_plain = isinstance(next(iter(given.values())), str) and not (
            given.get('custom_entities')) and \
            given.get('tokens_positive') is None
        if is_plain and self.in_parts:
            raise ValueError(
                'a text is read in parts (test_cfg.chunked_size) by its '
                f'phrases: {AS_PHRASES}')
        said = io.StringIO()  # of nltk, and what the host prints
        try:
            with redirect_stdout(said), redirect_stderr(said):
                results = original(*args, **kwargs)
        except (LookupError, RuntimeError) as error:
            # nltk, or its data, are missing
            if 'nltk' not in str(error).lower():
                raise
            raise ValueError(
                'to find the phrases of a text takes nltk and its data '
                '(punkt, averaged_perceptron_tagger), which cannot be loaded: '
                f'{AS_PHRASES}') from error
        tokens, caption, _, entities = results
        if tokens is None:  # the whole text is what is looked for
            self.phrases = (entities.strip(), )
            return results
        if is_plain:
            self._check_order(caption, tokens, entities)
        parts = zip(caption, tokens, entities) \
            if isinstance(caption, list) else [(caption, tokens, entities)]
        self.phrases = tuple(phrase for part in parts
                             for phrase in self._phrases(*part))
        if not self.phrases:
            raise ValueError('the text names nothing: give phrases, such as '
                             '"a red car . a dog" with custom entities '
                             '(--custom-entities)')
        return results

    def _phrases(self, caption: str, tokens: dict[int, list[int]],
                 entities: list[str]) -> list[str]:
        """Name the labels of a text, or of a part of it.

        Args:
            caption (str): The text.
            tokens (dict): The tokens of each label, which count from 1.
            entities (list[str]): The phrases that were found.

        Raises:
            ValueError: If the detector reads none of a phrase's tokens.
        """
        names = [entities[number - 1].strip() for number in tokens]
        most = self.language_model.max_tokens
        for name, places in zip(names, tokens.values()):
            # the last token marks the end of what is read
            if any(place < most - 1 for place in places):
                continue
            count = len(self.language_model.tokenizer(caption).input_ids)
            raise ValueError(
                f'the detector reads no word of {name!r}: ' + (
                    f'of a text, it takes {most} tokens, and this one has '
                    f'{count}; give fewer phrases, or let them be read in '
                    'parts (--cfg-options model.test_cfg.chunked_size=20)'
                    if count > most else
                    'the language model skips its letters, or no word stands '
                    'where tokens_positive says'))
        return names

    def _check_order(self, caption: str, tokens: dict[int, list[int]],
                     entities: list[str]) -> None:
        """Raise a ValueError if a label has the name of another: mmdet names
        them in the order of the phrases, and one that stands in the text twice
        has two labels."""
        spans = self.language_model.tokenizer(
            caption, return_offsets_mapping=True)['offset_mapping']
        for number, places in tokens.items():
            name = entities[number - 1] if number <= len(entities) else ''
            if not places:
                continue  # see _phrases
            said = caption[spans[places[0]][0]:spans[places[-1]][1]]
            if letters_of(said) != letters_of(name):
                raise ValueError(
                    f'mmdet mixes up the phrases of the text ({said!r} gets '
                    f'the name {name!r}), as where one stands in it twice: '
                    f'{AS_PHRASES}')

    def hear(self, module: nn.Module, args: Any, kwargs: Any,
             output: Any) -> None:
        """Note a call of the language model."""
        captions = args[0] if args else next(iter(kwargs.values()))
        self.calls.append((captions[0], [
            features.shape[1] for features in text_features(output)]))

    def prompt(self) -> ReadPrompt:
        """Return what was read."""
        caption = ' '.join(part for part, _ in self.calls)
        tokens, start = [], 0  # of each tensor of features
        for part, lengths in self.calls:
            tokens += [self._tokens(part, start, length)
                       for length in lengths]
            start += len(part) + 1
        spans = words_of(caption, [token for each in tokens
                                   for token in each])
        word_at = {place: number for number, (first, end) in enumerate(spans)
                   for place in range(first, end)}
        places = [torch.tensor([
            min((word_at[place] for place in range(*token)
                 if place in word_at), default=len(spans))
            for token in each]) for each in tokens]
        return ReadPrompt(caption, self.phrases, spans, places,
                          len(self.calls) > 1)

    def _tokens(self, part: str, start: int, count: int) -> list[Span]:
        """Return where the tokens of a part of the caption, which starts at a
        character of it, stand in the caption; marks of its beginning and end
        take no room."""
        return [(start + first, start + end)
                for first, end in self.language_model.tokenizer(
                    part, return_offsets_mapping=True, truncation=True,
                    max_length=count)['offset_mapping']]


def letters_of(text: str) -> str:
    """Return the letters and digits of a text, in lower case."""
    return ''.join(filter(str.isalnum, text.lower()))


@contextmanager
def reading(model: Any) -> Iterator[PromptReader | None]:
    """Listen to what a detector reads in this context; None of one that takes
    no text."""
    language_model = language_model_of(model)
    if language_model is None:
        yield None
        return
    reader = PromptReader(model)

    original: Any = getattr(model, READING, None)
    head = getattr(model, 'bbox_head', None)
    with ExitStack() as stack:
        for module in modules_with(CONVERTING, head):
            stack.enter_context(swapped(module, CONVERTING, partial(
                of_phrases, vars(module)[CONVERTING], type(head).__name__)))
        stack.enter_context(nullcontext() if original is None else swapped(
            model, READING, partial(reader.read, original)))
        stack.callback(language_model.register_forward_hook(
            reader.hear, with_kwargs=True).remove)
        yield reader


def of_phrases(original: Callable, head: str, logits: Tensor,
               positive_maps: list[dict | None]) -> Tensor:
    """Make scores of phrases of those of words, as the host does.

    Raises:
        ValueError: If there are no phrases, for a head that needs some.
    """
    if None in positive_maps:
        raise ValueError(f'{head} looks for phrases, and cannot take a whole '
                         'text as one (tokens_positive=-1): give phrases')
    scores: Tensor = original(logits, positive_maps)
    return scores


def text_features(output: Any) -> list[Tensor]:
    """List the features (B, T, C) in what a language model gives; masks are
    no numbers."""
    return [tensor for tensor in all_tensors(output)
            if tensor.is_floating_point() and tensor.dim() == 3]


class TextLayer(TargetLayer):
    """The language model of a detector, whose features of a text are made
    leaves of the graph: maps (1, C, 1, T) of T tokens.

    Of all modules that they pass, it is the one that every such detector has,
    and the last that knows nothing of images. A projection that follows
    (``text_feat_map``) would give the same :class:`WordScores`: it is affine,
    and what it adds to every token alike is no part of them.

    Args:
        model (nn.Module): A detector that takes a text.
    """

    def __init__(self, model: nn.Module) -> None:
        self.name = LANGUAGE_MODEL
        self.index = None
        module = language_model_of(model)
        assert module is not None  # it takes a text
        self.module = module

    @contextmanager
    def replacing(self, function: Callable[[Tensor], Tensor],
                  ran: Callable[[], None] = lambda: None) -> Iterator[None]:

        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            ran()
            features = text_features(output)
            return map_tensors(
                lambda tensor: function(tensor.mT[:, :, None])[:, :, 0].mT
                if any(tensor is each for each in features) else tensor,
                output)

        handle = self.module.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def check(self, features: list[Tensor], results: list[Tensor],
              lost: Callable[[], str]) -> None:
        """Raise a RuntimeError unless some of ``results`` depend on
        ``features``."""
        if not depend(results, features):
            raise RuntimeError('the detector loses the gradient of its '
                               'predictions on the way back to its text: '
                               f'{lost()}')
