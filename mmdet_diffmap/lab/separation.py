# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What keeps two objects of a class apart? Maps that may show it are compared:
pixels that they name are removed, and the detector looks again."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmdet.models.detectors import BaseDetector
from mmengine.structures import InstanceData
from torch import Tensor
from torchvision.ops import box_iou

from ..errors.kinds import DEFAULT_THRESHOLDS
from ..evaluation.intervals import Estimate, Means
from ..explainers import ODAM
from ..explainers.gradient_explainer import GradientExplainer
from ..maps.image_frame import ImageFrame
from ..tracing.detector import DetectorAdapter
from ..tracing.filtering import CandidateTrace
from ..tracing.recording import recording
from .evidence import filled

SHARES = (0.05, 0.1, 0.2, 0.35, 0.5)
#: What takes the place of a pixel: uniform noise, the image's mean colour, or,
#: where it is known, what would be there without the cue.
FILLS = ('noise', 'mean', 'hidden')
#: What tells nothing of what keeps objects apart: random pixels; the middle
#: line between the boxes; the heat map of one of both alone, which destroys
#: one object; and, where it is known, what tells all, the cue.
CONTROLS = ('random', 'middle line', 'one object', 'cue')
#: What is measured of each map, in per cent of the deletions: how often both
#: objects are found, and at least one; the latter less the former; and how
#: often one object is found in the place of both.
QUANTITIES = ('both', 'one', 'lost', 'merged')
#: With what each map is compared.
COMPARED = ('random', 'middle line', 'odam', 'difference')
#: Maps, and what they show.
FORMULATIONS: dict[str, str] = {
    'odam': 'the larger of both heat maps',
    'difference': 'the larger of both difference maps',
    'common': 'the smaller of both heat maps',
    'common score': 'the smaller of both heat maps of the score',
    'common extents': 'the smaller of both heat maps whose outputs are '
                      'normalised, and push sides outward',
    '-iou': 'what lowers the IoU of both boxes',
    '-giou': 'what lowers their generalised IoU',
    'gap': 'what moves the facing sides apart',
    'sides': 'what the facing sides hang on: the larger of both maps, '
             'whatever their sign',
    'both sides': 'the geometric mean of the same',
    'merged': 'what lowers the score of the candidate that fits the '
              'enclosing box best',
    'versus merged': 'what raises both scores and lowers that one',
}


@dataclass(frozen=True)
class PairCase:
    """An image with pairs of objects of a class.

    Args:
        data (dict): A batch of it alone.
        instances (Sequence[dict]): What is annotated.
        pairs (Sequence[tuple]): Numbers of two of these.
        cue (np.ndarray, optional): What divides them, bool (H, W), in the
            original image.
        hidden (dict, optional): A batch of the image without the cue.
    """
    data: dict
    instances: Sequence[dict]
    pairs: Sequence[tuple[int, int]]
    cue: np.ndarray | None = None
    hidden: dict | None = None


@dataclass(frozen=True)
class SeparationFigures:
    """What came out, in per cent.

    Args:
        pairs (int): How many were found.
        images (int): On how many images.
        of_maps (dict): By map, fill and one of ``QUANTITIES``, over all
            shares.
        differences (dict): By map, fill, quantity and another map, how much
            more that is.
        on_cue (dict): By map, the share of its energy in both boxes that lies
            on the cue, and as ``area`` the cue's share of the boxes; empty
            where the cue is not known.
    """
    pairs: int
    images: int
    of_maps: dict[tuple[str, str, str], Estimate]
    differences: dict[tuple[str, str, str, str], Estimate]
    on_cue: dict[str, Estimate]


def compare_separation(model: BaseDetector, cases: Iterable[PairCase],
                       fills: Sequence[str] = FILLS[:2],
                       shares: Sequence[float] = SHARES,
                       score_thr: float = 0.3,
                       seed: int = 0) -> SeparationFigures:
    """Compare maps of what keeps two objects apart.

    Of each pair of which both are found, so many pixels as are a share of
    both boxes together are removed, those with the largest value in a map
    first.

    Args:
        model (BaseDetector): The detector.
        cases (Iterable[PairCase]): The images.
        fills (Sequence[str]): Some of ``FILLS``: what takes a pixel's place.
        shares (Sequence[float]): Of the area of both boxes.
        score_thr (float): Detections with a larger score count.
        seed (int): Of noise and of random pixels.

    Raises:
        ValueError: If no pair is found.
    """
    explainer = ODAM(outputs='score', tolerance=0)
    adapter = DetectorAdapter(model, explainer.target_layer,
                              explainer.statistics)
    means, counted, images = Means(), 0, 0
    for number, case in enumerate(cases):
        values = []
        if case.pairs:
            candidates = adapter.trace_candidates(case.data)
            random = np.random.default_rng((seed, number))
            for first, second in found_pairs(candidates, case, score_thr):
                values.append(measure(
                    candidates, first, second, case.cue,
                    None if case.hidden is None else
                    adapter.preprocess(case.hidden, 0)[0][0], explainer,
                    fills, shares, score_thr, random))
        counted, images = counted + len(values), images + bool(values)
        for key in keys(fills, case.cue is not None):
            means.add(key, [of_pair.get(key) for of_pair in values])
    if not counted:
        raise ValueError('of no pair both objects are found: there is nothing '
                         'to compare')
    pairs = [((name, fill, quantity), (control, fill, quantity))
             for name, fill, quantity in means.sums
             if quantity in ('lost', 'merged')
             for control in COMPARED if name != control]
    estimates = means.estimates(pairs)
    return SeparationFigures(
        counted, images,
        {key: estimates[key] for key in means.sums if key[1] != 'on cue'},
        {(*first, second[0]): estimates[first, second]
         for first, second in pairs},
        {key[0]: estimates[key] for key in means.sums if key[1] == 'on cue'})


def keys(fills: Sequence[str],
         has_cue: bool) -> Iterator[tuple[str, str, str]]:
    """List what is measured of each pair."""
    for name in (*FORMULATIONS, *CONTROLS):
        if name == 'cue' and not has_cue:
            continue
        for fill in fills:
            for quantity in QUANTITIES:
                yield name, fill, quantity
        if has_cue:
            yield name, 'on cue', ''
    if has_cue:
        yield 'area', 'on cue', ''


def overlapping_pairs(instances: Sequence[dict]) -> list[tuple[int, int]]:
    """List pairs of annotated objects of a class whose boxes overlap; crowds
    are none."""
    boxes = torch.tensor([instance['bbox'] for instance in instances]
                         ).view(-1, 4)
    overlap = box_iou(boxes, boxes) > 0
    return [
        (first, second) for first in range(len(instances))
        for second in range(first + 1, len(instances))
        if overlap[first, second] and not any(
            instances[each].get('ignore_flag', 0) for each in (first, second))
        and instances[first]['bbox_label'] == instances[second]['bbox_label']]


def found_pairs(candidates: CandidateTrace, case: PairCase,
                score_thr: float) -> Iterator[tuple[int, int]]:
    """Yield the candidates that are the final detections of both objects of a
    pair."""
    filtering, everything = candidates.filtering, candidates.trace.detections
    final = filtering.detections[filtering.scores > score_thr]
    boxes, labels = everything.bboxes[final], everything.labels[final]
    for pair in case.pairs:
        chosen: list[int] = []
        for number in pair:
            instance = case.instances[number]
            overlap = box_iou(boxes.new_tensor([instance['bbox']]), boxes)[0]
            overlap = overlap * (labels == instance['bbox_label'])
            overlap[chosen] = 0
            if len(overlap) and overlap.max() > DEFAULT_THRESHOLDS.foreground:
                chosen.append(int(overlap.argmax()))
        if len(chosen) == 2:
            yield int(final[chosen[0]]), int(final[chosen[1]])


def measure(candidates: CandidateTrace, first: int, second: int,
            cue: np.ndarray | None, hidden: Tensor | None,
            explainer: GradientExplainer, fills: Sequence[str],
            shares: Sequence[float], score_thr: float,
            random: np.random.Generator) -> dict[tuple[str, str, str], float]:
    """Measure all maps of a pair of detections; see
    :func:`compare_separation`."""
    trace = candidates.trace
    pair = trace.select([first, second])
    boxes = pair.detections.bboxes
    frame = trace.frame
    union = inside(boxes, frame.image_shape)
    heatmaps = ODAM()(pair)
    maps = {name: values * union for name, values in (
        *formulations(candidates, first, second, heatmaps,
                      explainer).items(),
        *controls(boxes, heatmaps, cue, union, random).items())}
    measured: dict[tuple[str, str, str], float] = {}
    if cue is not None:
        on_cue = torch.from_numpy(cue).to(union.device)
        measured['area', 'on cue', ''] = share(union.float(), on_cue)
        for name, values in maps.items():
            if values.max() > 0:
                measured[name, 'on cue', ''] = share(values.relu(), on_cue)
    orders = {name: ranked(values, union, frame, random)
              for name, values in maps.items()}
    images, places = [], []
    for fill in fills:
        other = filled(fill, trace.input, frame, hidden, random)
        for name, order in orders.items():
            for part in shares:
                image = trace.input.image.clone()
                pixels = frame.content_to_input(
                    order[:round(part * len(order))])
                image.flatten(1)[:, pixels] = other.flatten(1)[:, pixels]
                images.append(image)
                places.append((name, fill))
    outcomes: dict[tuple[str, str], list[dict[str, bool]]] = {}
    label = int(pair.detections.labels[0])
    after = (found for part in torch.stack(images).split(16)
             for found in trace.input.detections(part))
    for place, found in zip(places, after):
        outcomes.setdefault(place, []).append(
            what_is_left(found, boxes, label, score_thr))
    for (name, fill), of_shares in outcomes.items():
        for quantity in QUANTITIES:
            measured[name, fill, quantity] = 100 * float(np.mean(
                [outcome[quantity] for outcome in of_shares]))
    return measured


def formulations(candidates: CandidateTrace, first: int, second: int,
                 heatmaps: Tensor,
                 explainer: GradientExplainer) -> Mapping[str, Tensor]:
    """Make the maps (H, W) of ``FORMULATIONS``, of a pair of candidates with
    heat maps (2, H, W)."""
    trace = candidates.trace
    merged = enclosing_candidate(candidates, first, second)
    some = trace.select([first, second, merged])
    sides = facing_sides(some.outputs[:2, 1:].detach())
    with recording():
        odds = some.outputs[:, 0].logit(eps=1e-6)
        values = torch.stack([
            -some.output('iou:1')[0], -some.output('giou:1')[0],
            some.output('gap:1')[0], *(
                some.outputs[row, 1 + column]
                for row, column in enumerate(sides)),
            -odds[2], odds[:2].mean() - odds[2]])
    rows = trace.select([first] * 3 + [first, second] + [merged] * 2)
    signed = explainer.weigh(rows.with_score(values)).maps
    facing = signed[3:5].abs()
    pair = some.select([0, 1])
    return dict(zip(FORMULATIONS, (
        heatmaps.amax(dim=0), (heatmaps[0] - heatmaps[1]).abs(),
        heatmaps.amin(dim=0), ODAM(outputs='score')(pair).amin(dim=0),
        ODAM(normalize_outputs=True, extents=True)(pair).amin(dim=0),
        *signed[:3], facing.amax(dim=0), facing.prod(dim=0).sqrt(),
        *signed[5:])))


def controls(boxes: Tensor, heatmaps: Tensor, cue: np.ndarray | None,
             union: Tensor,
             random: np.random.Generator) -> dict[str, Tensor]:
    """Make the maps (H, W) of ``CONTROLS``, of a pair with boxes (2, 4) and
    heat maps (2, H, W)."""
    rows, columns = (torch.arange(size, device=boxes.device) + 0.5
                     for size in union.shape)
    one, other = ((columns - x).square() + (rows[:, None] - y).square()
                  for x, y in (boxes[:, :2] + boxes[:, 2:]).div(2).tolist())
    line = (one.sqrt() - other.sqrt()).abs()
    maps = {'random': torch.from_numpy(random.random(union.shape)).to(boxes),
            'middle line': 1 / (1 + line), 'one object': heatmaps[0]}
    if cue is not None:
        maps['cue'] = torch.from_numpy(cue).to(boxes)
    return maps


def enclosing_candidate(candidates: CandidateTrace, first: int,
                        second: int) -> int:
    """Return the candidate of the class whose box fits that around two others
    best."""
    detections = candidates.trace.detections
    boxes = detections.bboxes[[first, second]]
    around = torch.cat([boxes[:, :2].amin(dim=0), boxes[:, 2:].amax(dim=0)])
    overlap = box_iou(around[None], detections.bboxes)[0].nan_to_num(0)
    overlap = overlap * (detections.labels == detections.labels[first])
    overlap[[first, second]] = -1
    return int(overlap.argmax())


def facing_sides(boxes: Tensor) -> tuple[int, int]:
    """Return the columns of the sides of two boxes (2, 4) that face each
    other."""
    one, other = boxes
    gaps = [one[0] - other[2], one[1] - other[3], other[0] - one[2],
            other[1] - one[3]]
    return ((0, 2), (1, 3), (2, 0), (3, 1))[int(torch.stack(gaps).argmax())]


def inside(boxes: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the pixels of an image (height, width) inside of any box, bool
    (H, W)."""
    union = torch.zeros(*shape, dtype=torch.bool, device=boxes.device)
    for x1, y1, x2, y2 in boxes.round().long().clamp(min=0).tolist():
        union[y1:y2, x1:x2] = True
    return union


def share(values: Tensor, region: Tensor) -> float:
    """Return the share of values (H, W), not negative, in a region, in per
    cent."""
    return 100 * float(values[region].sum() / values.sum())


def ranked(values: Tensor, union: Tensor, frame: ImageFrame,
           random: np.random.Generator) -> Tensor:
    """Return the pixels of the input's content that lie in both boxes, those
    with the largest value in a map (H, W) first; equal ones in random
    order."""
    content = frame.to_content(torch.stack([values, union.float()]))
    pixels = (content[1].flatten() > 0.5).nonzero()[:, 0]
    mixed = pixels[torch.from_numpy(random.permutation(len(pixels))).to(
        pixels.device)]
    order = content[0].flatten()[mixed].sort(descending=True,
                                             stable=True).indices
    return mixed[order]


def what_is_left(found: InstanceData, boxes: Tensor, label: int,
                 score_thr: float) -> dict[str, bool]:
    """Tell which of ``QUANTITIES`` is true of detections, of boxes (2, 4)."""
    around = torch.cat([boxes[:, :2].amin(dim=0), boxes[:, 2:].amax(dim=0)])
    own = found.bboxes[(found.labels == label) & (found.scores > score_thr)]
    overlap = box_iou(torch.cat([boxes, around[None]]), own).nan_to_num(0)
    there = overlap > DEFAULT_THRESHOLDS.foreground
    both = bool(there[:2].any(dim=1).all() and there[:2].any(dim=0).sum() > 1)
    one = bool(there[:2].any())
    merged = there[2] & (overlap[2] > overlap[:2].amax(dim=0))
    return dict(both=both, one=one, lost=one and not both,
                merged=bool(merged.any()) and not both)
