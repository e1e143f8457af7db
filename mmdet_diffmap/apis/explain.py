# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Explaining the detections of images."""
import os
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from mmdet.structures import DetDataSample
from torch import nn

from ..explainers import ExplainerLike
from ..explainers.engine import (
    DEFAULT_SELECTION,
    PhraseSelection,
    Selection,
    explain_image,
)
from .image_pipeline import image_pipeline
from .prompt import Prompt, PromptLike, check_prompt

Image = str | os.PathLike | np.ndarray
#: A method whose maps of several phrases differ in all that they show.
SCORE_ALONE: dict[str, Any] = dict(type='ODAM', outputs='score')


@overload
def explain(model: nn.Module,
            image: Image,
            explainer: ExplainerLike = ...,
            score_thr: float = ...,
            max_objects: int | None = ...,
            prompt: PromptLike = ...) -> DetDataSample:
    ...


@overload
def explain(model: nn.Module,
            image: Sequence[Image] | dict,
            explainer: ExplainerLike = ...,
            score_thr: float = ...,
            max_objects: int | None = ...,
            prompt: PromptLike = ...) -> list[DetDataSample]:
    ...


def explain(model: nn.Module,
            image: Image | Sequence[Image] | dict,
            explainer: ExplainerLike = 'ODAM',
            score_thr: float = 0.3,
            max_objects: int | None = None,
            prompt: PromptLike = None
            ) -> DetDataSample | list[DetDataSample]:
    """Explain every object that a detector finds in an image.

    Args:
        model (nn.Module): A detector from :func:`load_detector` or mmdet's
            ``init_detector``, also wrapped by ``DataParallel`` or
            ``torch.compile``.
        image (str | PathLike | np.ndarray | Sequence | dict): Path or URL of
            the image, or the image itself, uint8 BGR of shape (H, W, 3). Or
            several of them, which are explained one after the other. Or a
            batch as the test loop gets it, ``inputs`` and ``data_samples``;
            it is left as it is.
        explainer (Explainer | dict | str): The method; see
            :func:`~mmdet_diffmap.explainers.build_explainer`.
        score_thr (float): Only detections with a larger score are explained,
            and only they are "the others" of a difference map. In [0, 1].
        max_objects (int, optional): At most so many of them, the best ones.
        prompt (Prompt | str | Sequence[str], optional): What a text-prompted
            detector is to look for; a batch has its own.

    Returns:
        DetDataSample | list[DetDataSample]: The detections in
        ``pred_instances``, best first, in pixels of the original image:
        ``bboxes`` (N, 4), last dim (x1, y1, x2, y2), ``scores`` (N, ),
        ``labels`` (N, ), ``heatmaps`` (N, H, W) in [0, 1] and
        ``difference_maps`` (N, H, W), signed in [-1, 1] (paper, Eq. 4). With
        a :class:`DifferenceMap` as the explainer, the heat maps are those of
        its own explainer, and its option ``positive`` holds. With
        ``evidence='both'`` in the method's config also ``evidence_maps`` (N,
        H, W), signed in [-1, 1], and ``meanings``, what each says in words.
        Of a text-prompted detector also ``words``, a
        :class:`~mmdet_diffmap.tracing.word_scores.WordScores` of each, and
        ``phrases`` in the metainfo, what each label is. Of several images, or
        a batch, one for each.

    Raises:
        OSError: If the image cannot be read.
        TypeError: If the model is no detector of mmdet.
        ValueError: If an argument makes no sense, or the model's test
            pipeline moves pixels in a way that cannot be followed.
        MemoryError: If the maps do not fit in memory.

    Example:
        >>> from mmdet_diffmap import explain, load_detector
        >>> model = load_detector('mmdet_diffmap::demo/fcos_scenes.py')
        >>> sample = explain(model, 'scene://0/2', max_objects=2)
        >>> sample.pred_instances.heatmaps.shape
        torch.Size([2, 192, 192])
    """
    selection = Selection(score_thr, max_objects)
    asked = Prompt.of(prompt)
    if isinstance(image, dict):
        if asked is not None:
            raise ValueError('the data samples of a batch have their own '
                             'texts: give no prompt')
        return [
            explain_one(model, image, index, explainer, selection)
            for index in range(len(image['data_samples']))
        ]
    check_prompt(model, asked)
    pipeline = image_pipeline(model)
    if isinstance(image, (str, os.PathLike, np.ndarray)):
        return explain_one(model, pipeline(image, prompt=asked).batch, 0,
                           explainer, selection)
    return [
        explain_one(model, pipeline(single, prompt=asked).batch, 0, explainer,
                    selection)
        for single in image
    ]


def explain_phrases(model: nn.Module,
                    image: Image,
                    object_index: int,
                    prompt: PromptLike = None,
                    explainer: ExplainerLike = SCORE_ALONE,
                    names: Sequence[str] | None = None,
                    selection: Selection = DEFAULT_SELECTION
                    ) -> DetDataSample:
    """Explain one object of an image for each phrase of the text that the
    detector was asked with, or for each of some classes.

    Args:
        model (nn.Module): A detector that tells how probable each class of a
            detection is.
        image (str | PathLike | np.ndarray): See :func:`explain`.
        object_index (int): Which object, as numbered in the results of
            :func:`explain`.
        prompt (Prompt | str | Sequence[str], optional): What a text-prompted
            detector is to look for.
        explainer (Explainer | dict | str): The method. Its output ``score`` is
            the phrase's probability; of all others, phrases have the same
            maps.
        names (Sequence[str], optional): The phrases, or classes. Defaults to
            all phrases.
        selection (Selection): Which detections are objects.

    Returns:
        DetDataSample: As of :func:`explain`, with the phrases in the place of
        objects: all have the object's box, ``labels`` are the phrases, and
        ``scores`` their probabilities. Difference maps show what speaks for
        one phrase and for no other.

    Raises:
        OSError: If the image cannot be read.
        ValueError: If there is no such object, or the detector has no
            phrases, or does not tell how probable they are.

    Example:
        >>> from mmdet_diffmap import explain_phrases, load_detector
        >>> model = load_detector('mmdet_diffmap::demo/fcos_scenes.py')
        >>> rows = explain_phrases(model, 'scene://0/2', 0,
        ...                        names=['fish', 'boat'])
        >>> rows.pred_instances.labels.tolist()
        [0, 5]
    """
    asked = Prompt.of(prompt)
    check_prompt(model, asked)
    batch = image_pipeline(model)(image, prompt=asked).batch
    return explain_one(model, batch, 0, explainer, PhraseSelection(
        selection.score_thr, selection.max_objects, object_index,
        None if names is None else tuple(names)))


def explain_one(model: nn.Module, data: dict, index: int,
                explainer: ExplainerLike,
                selection: Selection) -> DetDataSample:
    """Explain one image of a batch by one method; see :func:`explain`."""
    (explanation, ) = explain_image(model, data, index, [explainer], selection)
    return explanation.sample
