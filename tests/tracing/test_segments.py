"""Segments of mmdet's fusion heads, against a loop over pixels."""
import pytest
import torch
from mmdet.models.seg_heads.panoptic_fusion_heads import (
    HeuristicFusionHead,
    MaskFormerFusionHead,
)
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import nn

from mmdet_diffmap.tracing.segments import Segments

THINGS = STUFF = 2
NOTHING = THINGS + STUFF
#: Of each query the class, and how its masks are made of random numbers.
QUERIES = {
    'no class': ([4, 4, 4], lambda masks: masks),
    'no pixel': ([0, 1], lambda masks: -masks.abs() - 1),
    'one segment': ([0, 4, 4], lambda masks: masks),
    'shared stuff': ([2, 2, 4], lambda masks: masks),
    'stuff and things': ([0, 0, 1, 3, 2, 2], lambda masks: masks),
    'equal masks': ([2, 2, 0], torch.ones_like),
}
#: Of how many detections, and which have an empty mask.
DETECTIONS = {
    'none': (0, []), 'some': (5, []), 'an empty mask': (4, [1]),
    'empty masks': (3, [0, 1, 2]),
}


def heard(fusion, predict):
    """What is heard of one image, and the map that the head gives."""
    model = nn.Module()
    model.panoptic_fusion_head = fusion
    with Segments().listening(model) as segments:
        panoptic = predict()
    (found, ) = segments.images
    numbers = panoptic.sem_seg[0]
    ids = sorted({*numbers.flatten().tolist()} - {NOTHING})
    assert len(found) == len(ids)
    for segment, mask, label, box in zip(ids, found.masks, found.labels,
                                         found.bboxes):
        assert torch.equal(mask, numbers == segment)
        assert label == segment % 1000
        rows, columns = mask.nonzero().unbind(dim=1)
        assert box.tolist() == [columns.min(), rows.min(),
                                columns.max() + 1, rows.max() + 1]
    return found, numbers, ids


def naive_queries(numbers, segment, kept, scores, masks):
    """The score of the query with most of a segment's pixels, and the mean of
    the logits of the query that each of them is of."""
    logits, owners = [], []
    for y, x in (numbers == segment).nonzero().tolist():
        owner = max(kept, key=lambda query: float(
            scores[query] * masks[query, y, x].sigmoid()))
        owners.append(owner)
        logits.append(masks[owner, y, x])
    return (scores[max(kept, key=owners.count)],
            torch.stack(logits).mean())


@pytest.mark.parametrize('filter_low_score', [True, False])
@pytest.mark.parametrize('name', QUERIES)
def test_queries(name, filter_low_score):
    labels, make = QUERIES[name]
    torch.manual_seed(0)
    masks = make(3 * torch.randn(len(labels), 6, 7))
    classes = 4 * nn.functional.one_hot(torch.tensor(labels), 5) + \
        torch.rand(len(labels), 5)
    fusion = MaskFormerFusionHead(THINGS, STUFF, test_cfg=ConfigDict(
        object_mask_thr=0.3, iou_thr=0.1, filter_low_score=filter_low_score))
    found, numbers, ids = heard(
        fusion, lambda: fusion.panoptic_postprocess(classes, masks))
    assert (len(ids) == 0) == (name in ('no class', 'no pixel'))
    scores = classes.softmax(dim=1).amax(dim=1)
    kept = [query for query, label in enumerate(labels) if label != NOTHING]
    for segment, score, logit in zip(ids, found.scores, found.mean_logits):
        expected = naive_queries(numbers, segment, kept, scores, masks)
        torch.testing.assert_close((score, logit), expected)


@pytest.mark.parametrize('name', DETECTIONS)
def test_regions(name):
    """A thing is the detection that is laid first where it stands."""
    count, empty = DETECTIONS[name]
    torch.manual_seed(0)
    detections = InstanceData(
        bboxes=torch.rand(count, 4), scores=torch.rand(count),
        labels=torch.randint(THINGS, (count, )),
        masks=torch.rand(count, 8, 9) > 0.6)
    detections.masks[empty] = False
    stuff = torch.randn(STUFF + 1, 8, 9)
    fusion = HeuristicFusionHead(THINGS, STUFF, test_cfg=ConfigDict(
        mask_overlap=0.5, stuff_area_limit=3))
    found, numbers, ids = heard(
        fusion, lambda: fusion.predict([detections], [stuff.clone()])[0])
    laid = torch.zeros(8, 9, dtype=torch.bool)
    things = []
    for row in detections.scores.argsort(descending=True).tolist():
        mask = detections.masks[row]
        if mask.any() and (mask & laid).sum() / mask.sum() <= 0.5:
            things += [row] * bool((mask & ~laid).any())
            laid |= mask
    assert bool(things) == (count > len(empty))
    probabilities = stuff.softmax(dim=0)
    for segment, score in zip(ids, found.scores):
        expected = detections.scores[things[segment // 1000 - 1]] \
            if segment >= 1000 else \
            probabilities[segment - THINGS][numbers == segment].mean()
        torch.testing.assert_close(score, expected)
