# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Which words of a text count for what a detector finds."""
from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from ..tracing.detector import DetectorAdapter, unwrapped
from ..tracing.prompts import language_model_of
from ..tracing.trace import Trace
from ..tracing.word_scores import WordScores
from .explainer import Explainer


def words_of_methods(model: nn.Module, data: dict, index: int,
                     explainers: Sequence[Explainer],
                     select: Callable[[Trace], Trace]
                     ) -> list[list[WordScores] | None]:
    """Compute what each word counts for the objects of an image, for each of
    several methods.

    The words of the output that a method explains; of its score, where it
    explains several. In a run of its own, since a target layer behind the
    text would cut its graph.

    Args:
        model (nn.Module): The detector.
        data (dict): A batch.
        index (int): Which image of it.
        explainers (Sequence[Explainer]): The methods.
        select (Callable): Chooses the objects of a trace.

    Returns:
        list: Of each method the words of each object; None of a detector that
        takes no text, and of methods that need no gradients.
    """
    outputs = [output_of_words(explainer) for explainer in explainers]
    if language_model_of(unwrapped(model)) is None or not any(outputs):
        return [None] * len(outputs)
    trace = select(DetectorAdapter.of_text(model).trace(data, index))
    assert trace.prompt is not None  # the detector takes a text
    of_output = {output: trace.prompt.word_scores(trace, output)
                 for output in dict.fromkeys(outputs) if output is not None}
    return [None if output is None else of_output[output]
            for output in outputs]


def output_of_words(explainer: Explainer) -> str | None:
    """Return the output whose words are shown beside a method's maps."""
    if explainer.target_layer is None:
        return None
    return explainer.outputs[0] if len(explainer.outputs) == 1 else 'score'
