# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Is it true what maps say speaks for a detection, and what against? Pixels
that they name are removed, and the detector looks again."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from mmdet.models.detectors import BaseDetector
from torch import Tensor

from ..datasets.scenes import Scene, texture
from ..errors.find import ExplainedErrors, find_errors
from ..errors.kinds import DEFAULT_THRESHOLDS, Kind
from ..evaluation.intervals import Estimate, Means
from ..evaluation.perturbation import rank_pixels
from ..explainers.ablation_cam import best_scores
from ..explainers.explainer import Explainer, method_name
from ..maps.image_frame import ImageFrame
from ..tracing.detector import DetectorAdapter
from ..tracing.trace import NetworkInput

#: Which objects are looked at.
OBJECTS = ('missed', 'found')
#: What is removed, what speaks against or what speaks for; and each with what
#: else is removed, to be compared: what matters either way; random pixels of
#: the box; the same, turned by half a turn around the middle of the box, so
#: that as many pixels lie together in other places; the other side.
CONTROLS = {'against': ('magnitude', 'random', 'against, turned', 'for'),
            'for': ('magnitude', 'random', 'for, turned', 'against')}
#: What takes the place of a pixel: uniform noise, the image's mean colour, or
#: what a planted occluder hides.
FILLS = ('noise', 'mean', 'hidden')
SHARES = (0.05, 0.1, 0.2)


@dataclass(frozen=True)
class EvidenceCase:
    """An image whose objects are looked at.

    Args:
        data (dict): A batch of it alone.
        instances (Sequence[dict]): What is annotated.
        hidden (dict, optional): A batch of the image without its occluder.
        occluder (np.ndarray, optional): Where that is, bool (H, W), in the
            original image.
    """
    data: dict
    instances: Sequence[dict]
    hidden: dict | None = None
    occluder: np.ndarray | None = None


@dataclass(frozen=True)
class EvidenceFigures:
    """What came out.

    Args:
        objects (int): How many objects were looked at.
        before (Estimate): The mean score of their candidates, in per cent.
        removed (dict): By side, ``against`` or ``for``, and share: how many
            pixels that is on average, in per cent of the box's area.
        changes (dict): By side, fill, share of the box's area and ranking, by
            how many points the score changes on average. Rankings are the
            side itself and its ``CONTROLS``.
        differences (dict): By side, fill, share and control, how much more it
            rises when that goes which speaks against, or for.
        on_occluder (dict): The share of what speaks for, and against, that
            lies on the occluder, and the occluder's share of the box, in per
            cent; empty without occluders.
    """
    objects: int
    before: Estimate
    removed: dict[tuple[str, float], Estimate]
    changes: dict[tuple[str, str, float, str], Estimate]
    differences: dict[tuple[str, str, float, str], Estimate]
    on_occluder: dict[str, Estimate]


def check_evidence(model: BaseDetector, cases: Iterable[EvidenceCase],
                   explainer: Explainer, fills: Sequence[str] = FILLS[:2],
                   shares: Sequence[float] = SHARES, score_thr: float = 0.3,
                   seed: int = 0, objects: str = 'missed') -> EvidenceFigures:
    """Remove what speaks against objects, and see whether their scores rise;
    and what speaks for them, and see whether their scores fall.

    Missed objects with a candidate of their class are looked at, or those
    that a detection finds. So many pixels as are a share of the candidate's
    box are removed, those with the largest value in each ranking first,
    anywhere in the image; random ones are of the box. Where fewer pixels
    speak against it, fewer go, in all rankings that are compared with what
    speaks against; and likewise with what speaks for it. If the other side,
    to be compared, has fewer pixels still, those follow that matter least.
    The score is that of the best candidate of the class that overlaps the
    candidate by more than half.

    Args:
        model (BaseDetector): The detector; its score threshold should be low.
        cases (Iterable[EvidenceCase]): The images.
        explainer (Explainer): The method. It tells what speaks against.
        fills (Sequence[str]): Some of ``FILLS``.
        shares (Sequence[float]): Of the box's area.
        score_thr (float): Detections with a larger score count.
        seed (int): Of noise and of random pixels.
        objects (str): One of ``OBJECTS``.

    Raises:
        ValueError: If there is no such object, or the method does not tell
            what speaks against it.
    """
    if objects not in OBJECTS:
        raise ValueError(f'objects must be {" or ".join(OBJECTS)}, not '
                         f'{objects}')
    check_explainer(explainer)
    means, counted = Means(), 0
    adapter = DetectorAdapter(model, explainer.target_layer,
                              explainer.statistics)
    for number, case in enumerate(cases):
        explained = find_errors(adapter, case.data, case.instances,
                                score_thr=score_thr)
        hidden = None
        if case.hidden is not None:
            hidden = adapter.preprocess(case.hidden, 0)[0][0]
        values = measure(explained, looked_at(explained, objects), hidden,
                         case.occluder, explainer, fills, shares,
                         np.random.default_rng((seed, number)))
        counted += len(values)
        keys: dict[tuple, list[float | None]] = {
            key: [] for key in expected_keys(fills, shares, case)}
        for of_object in values:
            for key in keys:
                keys[key].append(of_object.get(key))
        for key, column in keys.items():
            means.add(key, column)
    if not counted:
        raise ValueError('no object is found: there is nothing to look at'
                         if objects == 'found' else
                         'no object with a candidate of its class is missed: '
                         'there is nothing to look at')
    pairs = [((*place, place[0]), (*place, control))
             for place in places(fills, shares)
             for control in CONTROLS[place[0]]]
    estimates = means.estimates(pairs)
    return EvidenceFigures(
        counted, estimates['before', ],
        {key[1:]: estimates[key] for key in estimates if key[0] == 'removed'},
        {key: estimates[key] for key in estimates if len(key) == 4},
        {second: estimates[first, second] for first, second in pairs},
        {key[1]: estimates[key] for key in estimates
         if key[0] == 'occluder'})


def check_explainer(explainer: Explainer) -> None:
    """Raise a ValueError if a method does not tell what speaks against."""
    if type(explainer).weigh is Explainer.weigh:
        raise ValueError(f'{method_name(type(explainer))} does not tell what '
                         'speaks against a detection')


def places(fills: Sequence[str],
           shares: Sequence[float]) -> Iterator[tuple[str, str, float]]:
    """List the sides with each fill and share."""
    for side in CONTROLS:
        for fill in fills:
            for share in shares:
                yield side, fill, share


def expected_keys(fills: Sequence[str], shares: Sequence[float],
                  case: EvidenceCase) -> Iterator[tuple]:
    """List what is measured of each object."""
    yield ('before', )
    for side in CONTROLS:
        for share in shares:
            yield 'removed', side, share
    for place in places(fills, shares):
        for ranking in (place[0], *CONTROLS[place[0]]):
            yield *place, ranking
    if case.occluder is not None:
        for name in ('for', 'against', 'area'):
            yield 'occluder', name


def looked_at(explained: ExplainedErrors, objects: str) -> list[int]:
    """Return the candidates that are the right detections of an image, or
    that come nearest to its missed objects and are of their class."""
    errors, candidates = explained.errors, explained.candidates
    if objects == 'found':
        return explained.numbers[errors.of_kind(Kind.CORRECT)].tolist()
    labels = candidates.trace.detections.labels
    return [error.candidate for error in explained
            if error.kind is Kind.MISSED and error.candidate >= 0 and
            error.iou >= DEFAULT_THRESHOLDS.foreground and
            labels[error.candidate].cpu() == errors.truth.labels[error.object]]


def measure(explained: ExplainedErrors, chosen: list[int],
            hidden: Tensor | None, occluder: np.ndarray | None,
            explainer: Explainer, fills: Sequence[str],
            shares: Sequence[float],
            random: np.random.Generator) -> list[dict[tuple, float]]:
    """Measure some candidates of an image; see :func:`check_evidence`."""
    if not chosen:
        return []
    some = explained.candidates.trace.select(chosen)
    evidence = explainer.weigh(some)
    assert evidence is not None
    network, frame = some.input, some.frame
    boxes = some.outputs[:, 1:].detach()
    labels = some.detections.labels
    before = best_scores(boxes, labels,
                         network.candidates(network.image[None])[0])
    results = []
    for row, signed in enumerate(frame.to_content(evidence.maps)):
        values: dict[tuple, float] = {('before', ): 100 * float(before[row])}
        if occluder is not None:
            values |= on_occluder(evidence.maps[row], occluder,
                                  some.detections.bboxes[row])
        orders = rankings(signed, boxes[row], frame.corner, random)
        others = {fill: filled(fill, network, frame, hidden, random)
                  for fill in fills}
        area = float((boxes[row][2:] - boxes[row][:2]).clamp(min=0).prod())
        counts = removed_counts(signed, area, shares)
        for (side, share), count in counts.items():
            values['removed', side, share] = 100 * count / area
        removals = {
            (side, fill, share, ranking): (fill, ranking, counts[side, share])
            for side, fill, share in places(fills, shares)
            for ranking in (side, *CONTROLS[side])}
        distinct = list(dict.fromkeys(removals.values()))
        after: dict[tuple, Tensor] = {}
        for first in range(0, len(distinct), 16):
            part = distinct[first:first + 16]
            images = network.image.repeat(len(part), 1, 1, 1)
            for image, (fill, ranking, count) in zip(images, part):
                pixels = frame.content_to_input(orders[ranking][:count])
                image.flatten(1)[:, pixels] = \
                    others[fill].flatten(1)[:, pixels]
            for removal, candidates in zip(part, network.candidates(images)):
                after[removal] = best_scores(
                    boxes[[row]], labels[[row]], candidates)
        for key, removal in removals.items():
            values[key] = 100 * float(after[removal] - before[row])
        results.append(values)
    return results


def removed_counts(signed: Tensor, area: float,
                   shares: Sequence[float]) -> dict[tuple[str, float], int]:
    """Count the pixels to be removed, by side and share of the box's area: no
    more than are on that side of a signed map."""
    most = dict(zip(CONTROLS, (int((signed < 0).sum()),
                               int((signed > 0).sum()))))
    return {(side, share): min(round(share * area), most[side])
            for side in CONTROLS for share in shares}


def rankings(signed: Tensor, box: Tensor, corner: Sequence[int],
             random: np.random.Generator) -> Mapping[str, Tensor]:
    """Order the pixels of a signed map (h, w) of the image's content by all
    that ``CONTROLS`` names."""
    pixels = signed.numel()
    top, left = corner
    shift = box.new_tensor([left, top] * 2)
    x1, y1, x2, y2 = (box - shift).round().long().tolist()
    inside = torch.zeros_like(signed, dtype=torch.bool)
    inside[max(y1, 0):max(y2, 0), max(x1, 0):max(x2, 0)] = True
    of_box = inside.flatten().nonzero()[:, 0]
    mixed = of_box[torch.from_numpy(random.permutation(len(of_box))).to(
        of_box.device)]
    orders = dict(magnitude=rank_pixels(signed.abs(), pixels), random=mixed)
    height, width = signed.shape
    for side, values in (('against', -signed), ('for', signed)):
        order = orders[side] = rank_pixels(values, pixels)
        rows, columns = y1 + y2 - 1 - order // width, \
            x1 + x2 - 1 - order % width
        there = (rows >= 0) & (rows < height) & (columns >= 0) & (
            columns < width)
        orders[f'{side}, turned'] = (rows * width + columns)[there]
    return orders


def filled(fill: str, network: NetworkInput, frame: ImageFrame,
           hidden: Tensor | None, random: np.random.Generator) -> Tensor:
    """Return what takes the pixels' places, of the input's shape."""
    if fill == 'mean':
        content = network.image[(..., *frame.content)]
        return content.mean(dim=(1, 2), keepdim=True).expand_as(network.image)
    if fill == 'noise':
        values = random.integers(0, 256, network.image.shape, dtype=np.uint8)
        return network.of_pixels(torch.from_numpy(values).to(
            network.image.device))
    if hidden is None:
        raise ValueError('only planted occluders hide something')
    return hidden


def on_occluder(signed: Tensor, occluder: np.ndarray,
                box: Tensor) -> dict[tuple, float]:
    """Return the share of what speaks for and against that lies on the
    occluder, and the occluder's share of the box, in per cent."""
    mask = torch.from_numpy(occluder).to(signed.device)
    x1, y1, x2, y2 = box.round().long().clamp(min=0).tolist()
    inside = mask[y1:y2, x1:x2]
    values = {('occluder', 'area'): 100 * float(inside.float().mean())
              if inside.numel() else 0.}
    for name, part in (('for', signed.relu()), ('against', (-signed).relu())):
        whole = float(part.sum())
        if whole > 0:
            values['occluder', name] = 100 * float(part[mask].sum()) / whole
    return values


def occlude(scene: Scene, seed: Sequence[int]) -> tuple[np.ndarray,
                                                        np.ndarray]:
    """Put a patch of its own colour and texture over one side of an object
    of a scene.

    Args:
        scene (Scene): The scene.
        seed (Sequence[int]): Of the object, the side and the patch.

    Returns:
        tuple: The image, uint8 BGR (H, W, 3), and the patch, bool (H, W).
    """
    random = np.random.default_rng(seed)
    number = int(random.integers(len(scene.labels)))
    x1, y1, x2, y2 = scene.boxes[number].astype(int).tolist()
    share, side = random.uniform(0.4, 0.65), random.integers(4)
    wide, high = (max(1, round(share * length))
                  for length in (x2 - x1, y2 - y1))
    x1, y1, x2, y2 = [(x1, y1, x1 + wide, y2), (x2 - wide, y1, x2, y2),
                      (x1, y1, x2, y1 + high), (x1, y2 - high, x2, y2)][side]
    mask = np.zeros(scene.image.shape[:2], bool)
    mask[y1:y2, x1:x2] = True
    patch = random.uniform(40, 215, 3) + texture(
        random, (y2 - y1, x2 - x1))[..., None]
    image = scene.image.copy()
    image[y1:y2, x1:x2] = cv2.GaussianBlur(
        patch.clip(0, 255).astype(np.uint8), (3, 3), 0)
    return image, mask
