from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from demo import SCENE, demo_detector
from families import FAMILIES, trace_of
from rich.console import Console
from squares import SquareDetector

from mmdet_diffmap.apis.image_pipeline import image_pipeline
from mmdet_diffmap.explainers import DRISE, DifferenceMap
from mmdet_diffmap.explainers.d_rise import Targets
from mmdet_diffmap.explainers.engine import Selection
from mmdet_diffmap.explainers.random_masks import MaskedSums, RandomMasks
from mmdet_diffmap.io.progress import progress_display
from mmdet_diffmap.lab.speed import input_batch
from mmdet_diffmap.tracing.candidates import Candidates
from mmdet_diffmap.tracing.detector import DetectorAdapter

#: In pixels of a 128 x 160 input, which shows an image of 64 x 80.
SQUARES = [(0, 0, 64, 64), (96, 60, 144, 108)]


@pytest.fixture
def squares():
    return SquareDetector(*SQUARES)


def trace_squares(model):
    image = np.full((64, 80, 3), 200, np.uint8)
    return DetectorAdapter(model, None).trace(input_batch(image, (128, 160)))


def run(model, masks=4000, **options):
    options = dict(dict(progress=False, batch_size=50), **options)
    return DRISE(masks=masks, **options)(trace_squares(model))


def truth(square):
    """Draw the square in the original image, which is half as large."""
    x1, y1, x2, y2 = (side // 2 for side in square)
    shown = torch.zeros(64, 80)
    shown[y1:y2, x1:x2] = 1
    return shown


def correlation(first, second):
    return np.corrcoef(first.flatten(), second.flatten())[0, 1]


def covariance(pixels, grid=16, shifts=40):
    """Compute that of a mask's values at two pixels of an axis, the mean over
    shifts, for cells of variance 1."""
    centres = (np.arange(pixels) + .5) / pixels * grid
    total = 0
    for shift in (np.arange(shifts) + .5) / shifts:
        places = (centres + shift) * grid / (grid + 1) - .5
        weights = [np.interp(places, range(grid), cell)
                   for cell in np.eye(grid)]  # (grid, pixels)
        total += np.transpose(weights) @ weights
    return total / shifts


def closed_form(square):
    """Compute the map without chance: the covariance of a pixel's mask and
    the mean of the mask in the square, which is a blurred square."""
    x1, y1, x2, y2 = square
    rows = covariance(128)[:, y1:y2].mean(axis=1)
    columns = covariance(160)[:, x1:x2].mean(axis=1)
    blurred = torch.from_numpy(np.outer(rows, columns))
    return F.avg_pool2d(blurred[None], 2)[0]


def test_recovers_the_square_that_makes_the_score(squares):
    maps = run(squares)
    assert maps.shape == (2, 64, 80)
    assert correlation(maps[0], truth(SQUARES[0])) >= 0.95
    for heatmap, square in zip(maps, SQUARES):
        assert correlation(heatmap, closed_form(square)) >= 0.97
        assert heatmap.min() == 0 and heatmap.max() == 1


def test_sum_of_the_paper(squares):
    """Without the division by how often a pixel was shown."""
    masks = RandomMasks(16, .5, 0).draw(40, torch.zeros(128, 160))
    for heatmap, (x1, y1, x2, y2) in zip(
            run(squares, 40, coverage=False), SQUARES):
        shown = sum(mask * mask[y1:y2, x1:x2].mean() for mask in masks)
        expected = F.avg_pool2d(shown[None], 2)[0]
        expected -= expected.min()
        torch.testing.assert_close(
            heatmap, expected / expected.max(), rtol=0, atol=1e-4)


def test_recovers_the_square_that_makes_the_class(squares):
    """Without the score, class probabilities tell: the more of the square is
    seen, the more like its class."""
    trace = trace_squares(squares)
    box = trace.outputs[:1, 1:]
    x1, y1, x2, y2 = SQUARES[0]
    light = trace.input.image - trace.input.black

    def predict(images):
        predicted = []
        for image in images:
            seen = ((image - trace.input.black) / light)[:, y1:y2, x1:x2]
            cosine = seen.mean()
            predicted.append(Candidates(
                box, torch.tensor([.3]), torch.tensor([0]),
                torch.stack([cosine, (1 - cosine**2).clamp(0).sqrt()])[None]))
        return predicted

    trace = replace(trace.select(slice(1)),
                    input=replace(trace.input, candidates=predict))
    (heatmap, ) = DRISE(masks=4000, objectness=False, progress=False)(trace)
    assert correlation(heatmap, truth(SQUARES[0])) >= 0.95


def test_difference_map_tells_squares_apart(squares):
    explainer = DifferenceMap(DRISE(masks=2000, progress=False))
    differences = explainer(trace_squares(squares))
    for difference, own, other in zip(differences, SQUARES, SQUARES[::-1]):
        assert difference[truth(own) > 0].mean() > 0.5
        assert difference[truth(other) > 0].mean() < -0.5


def test_same_seed_same_maps_for_any_batch_size(squares):
    maps = run(squares, 200, batch_size=1)
    for batch_size in (7, 32, 1000):
        torch.testing.assert_close(
            run(squares, 200, batch_size=batch_size), maps, rtol=0, atol=1e-4)
    other = run(squares, 200, seed=1)
    assert (other - maps).abs().max() > 0.1


def test_same_seed_same_maps_for_any_batch_size_of_a_network():
    trace = trace_of('detr', None)
    first, second = (
        DRISE(masks=24, batch_size=size, progress=False)(trace)
        for size in (1, 9))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-4)


@pytest.mark.parametrize('name, values', [
    ('grid', (4, 16)), ('probability', (.2, .5)), ('coverage', (True, False))
])
def test_options_matter(squares, name, values):
    first, second = (run(squares, 50, **{name: value}) for value in values)
    assert (first - second).abs().max() > 0.05


def test_two_detections_cost_the_forwards_of_one(squares):
    trace = trace_squares(squares)
    counts = []
    for count in (1, 2):
        squares.batches.clear()
        DRISE(masks=50, batch_size=8, progress=False)(
            trace.select(slice(count)))
        counts.append(squares.batches.copy())
    # the image as it is, and batches of masked ones
    assert counts[0] == counts[1] == [1] + 6 * [8] + [2]


def test_without_detections_nothing_runs(squares):
    trace = trace_squares(squares)
    squares.batches.clear()
    assert DRISE()(trace.select(slice(0))).shape == (0, 64, 80)
    assert not squares.batches


def masked_images(model, **options):
    """Count the masked images that were looked at."""
    trace = trace_squares(model)
    model.batches.clear()
    DRISE(batch_size=50, progress=False, **options)(trace)
    return sum(model.batches) - 1


def test_stops_when_the_maps_have_settled(squares):
    assert masked_images(squares, masks=100) == 100
    early = masked_images(squares, masks=100, max_masks=5000)
    assert 100 < early < 5000 and early % 100 == 0
    assert masked_images(squares, masks=100, max_masks=250,
                         reliability=0.9999) == 250
    assert masked_images(squares, masks=100, max_masks=5000,
                         reliability=0.8) < early


def test_maps_of_an_early_stop_are_those_of_as_many_masks(squares):
    early = masked_images(squares, masks=100, max_masks=5000)
    torch.testing.assert_close(  # but for the order of thousands of summands
        run(squares, 100, max_masks=5000), run(squares, early), rtol=0,
        atol=1e-4)


@pytest.mark.parametrize('coverage', [True, False])
def test_reliability_is_that_of_the_mean(coverage):
    """Of halves that share a signal and have noise of their own; their mean
    against another such mean."""
    torch.manual_seed(0)
    signal, *noise = torch.randn(5, 1, 300, 300, dtype=torch.float64)
    halves = []
    for own_noise in noise:
        half = MaskedSums(1, (300, 300), signal)
        half.shown += 2
        half.weighted += signal + own_noise
        halves.append(half)
    first, second = ((halves[i].weighted + halves[i + 1].weighted)[0]
                     for i in (0, 2))
    (reliability, ) = DRISE(coverage=coverage).reliabilities(*halves[:2])
    assert abs(reliability - correlation(first, second)) < 0.02  # 2/3


def test_reliability_of_what_is_divided_by_how_often_it_was_shown():
    torch.manual_seed(0)
    signal, shown = torch.rand(2, 1, 30, 30, dtype=torch.float64)
    halves = []
    for spread in (0, 9):  # chance showed some pixels often to the second
        half = MaskedSums(1, (30, 30), signal)
        half.shown += 1 + spread * shown[0]
        half.weighted += signal * half.shown
        halves.append(half)
    assert list(DRISE().reliabilities(*halves)) == [pytest.approx(1)]
    assert next(DRISE(coverage=False).reliabilities(*halves)) < 0.9


def test_object_that_is_never_found_has_settled():
    halves = [MaskedSums(2, (3, 3), torch.zeros(0)) for _ in range(2)]
    for half in halves:
        half.shown += 1
        half.weighted[0] = torch.eye(3)
    assert list(DRISE().reliabilities(*halves)) == [pytest.approx(1), 1]
    halves[0].weighted[1, 0, 0] = 1
    assert list(DRISE().reliabilities(*halves)) == [pytest.approx(1), 0]
    halves[1].weighted[1] = 1 - halves[0].weighted[1]
    assert list(DRISE().reliabilities(*halves)) == [
        pytest.approx(1), pytest.approx(-1)]


def test_mixed_precision_is_asked_for(squares):
    for amp in (False, True):
        squares.autocast.clear()
        run(squares, 8, amp=amp)
        assert squares.autocast[-1] is amp


@pytest.mark.parametrize('family', FAMILIES)
def test_mixed_precision_of_every_family(family):
    trace = trace_of(family, None).select(slice(2))
    # some processors are very slow with such numbers
    maps = DRISE(masks=2, batch_size=2, amp=True, progress=False)(trace)
    assert maps.dtype == torch.float32
    assert maps.shape == (2, 75, 130) and maps.isfinite().all()


def test_mixed_precision_gives_nearly_the_same_maps():
    model = demo_detector()
    data = image_pipeline(model)(SCENE).batch
    trace = Selection(.5, 2)(DetectorAdapter(model, None).trace(data))
    plain, mixed = (DRISE(masks=24, amp=amp, progress=False)(trace)
                    for amp in (False, True))
    assert not torch.equal(plain, mixed)
    for plain_map, mixed_map in zip(plain, mixed):
        assert correlation(plain_map, mixed_map) > 0.98


def test_mixed_precision_of_the_caller_is_not_its_own():
    model = demo_detector()
    data = image_pipeline(model)(SCENE).batch
    trace = Selection(.5, 2)(DetectorAdapter(model, None).trace(data))
    plain = DRISE(masks=16, progress=False)(trace)
    with torch.autocast('cpu', torch.bfloat16):
        mixed = DRISE(masks=16, progress=False)(trace)
    torch.testing.assert_close(mixed, plain, rtol=0, atol=0)


class DoubleBoxes(SquareDetector):
    """As CrowdDet."""

    def predict(self, inputs, samples, rescale=True):
        for sample in super().predict(inputs, samples, rescale):
            instances = sample.pred_instances
            instances.bboxes = instances.bboxes.double()
            instances.labels = instances.labels.float()
        return samples


def test_boxes_in_double_precision():
    maps = run(DoubleBoxes(*SQUARES), 40)
    torch.testing.assert_close(
        maps.float(), run(SquareDetector(*SQUARES), 40), rtol=0, atol=1e-5)


def test_detections_without_an_area():
    with pytest.raises(ValueError, match='compares boxes, and those of these '
                       'detections have no area'):
        run(DoubleBoxes((10, 10, 10, 20)), 4)


def test_working_memory_is_that_of_the_sums(squares):
    trace = trace_squares(squares)
    sums = MaskedSums(2, (128, 160), trace.input.image)
    expected = sums.weighted.nbytes + sums.shown.nbytes
    assert DRISE().working_memory(trace) == expected
    assert DRISE(max_masks=5000).working_memory(trace) == 2 * expected
    assert DifferenceMap('d-rise').working_memory(trace) == expected


def test_three_parts(squares):
    parts = DRISE(masks=30, max_masks=60, progress=False).masked_sums(
        trace_squares(squares), 3)
    assert len(parts) == 3
    (whole, ) = DRISE(masks=60, progress=False).masked_sums(
        trace_squares(squares), 1)
    torch.testing.assert_close(
        sum(part.weighted for part in parts), whole.weighted, rtol=1e-4,
        atol=1e-4)


def test_progress_leaves_nothing_where_there_is_no_terminal(squares, capfd):
    run(squares, 10, progress=True)
    assert capfd.readouterr() == ('', '')


def test_progress_in_a_terminal_only(squares):
    shown = []
    for terminal in (True, False):
        console = Console(force_terminal=terminal, width=80)
        with console.capture() as capture, progress_display(console):
            run(squares, 100, progress=True)
        shown.append(capture.get())
    assert 'D-RISE' in shown[0] and 'D-RISE' not in shown[1]
    with Console(force_terminal=True).capture() as capture:
        run(squares, 100, progress=False)
    assert not capture.get()


@pytest.mark.parametrize('options, message', [
    (dict(masks=0), 'must be 1 or more, and seed 0 or more, not 0, 16, 8 and'),
    (dict(masks=1e3), 'must be whole numbers, not 1000.0, 16, 8, None and 0'),
    (dict(seed=-1), 'seed 0 or more'),
    (dict(max_masks=6000.), 'must be whole numbers'),
    (dict(grid=0), 'must be 1 or more'),
    (dict(batch_size=0), 'must be 1 or more'),
    (dict(probability=0), 'probability must be between 0 and 1, not 0'),
    (dict(probability=1.), 'probability must be between 0 and 1, not 1.0'),
    (dict(max_masks=0), 'max_masks must be at least masks=5000, not 0'),
    (dict(max_masks=10), 'max_masks must be at least masks=5000, not 10'),
    (dict(reliability=1), 'reliability must be between 0 and 1, not 1'),
])
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        DRISE(**options)


def similarity(box, other, p, q, score):
    """Compute IoU x cosine x score of two boxes, by the formulas."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    common = max(width, 0) * max(height, 0)
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (box, other)]
    iou = common / (sum(areas) - common)
    return iou * p @ q / np.linalg.norm(p) / np.linalg.norm(q) * score


@pytest.mark.parametrize('objectness', [True, False])
def test_match_is_the_best_of_all_pairs(objectness):
    rng = np.random.default_rng(0)
    corners = rng.random((2, 12, 2))
    boxes = np.concatenate([corners.min(0), corners.max(0) + .1], axis=1)
    probabilities, scores = rng.random((12, 4)), rng.random(12)
    labels = torch.from_numpy(probabilities.argmax(axis=1))
    boxes_, probabilities_, scores_ = map(torch.from_numpy, (
        boxes, probabilities, scores))
    targets = Targets(boxes_[:3], labels[:3], probabilities_[:3], objectness)
    matches = targets.match(
        Candidates(boxes_[3:], scores_[3:], labels[3:], probabilities_[3:]))
    expected = [
        max(similarity(boxes[i], boxes[j], probabilities[i], probabilities[j],
                       scores[j] if objectness else 1)
            for j in range(3, 12)) for i in range(3)
    ]
    np.testing.assert_allclose(matches, expected, atol=1e-12)


def test_match_with_a_single_class():
    """All cosines are 1: the score tells whether it is found."""
    box = torch.tensor([[0., 0, 2, 2]])
    targets = Targets(box, torch.tensor([0]), torch.tensor([[.9]]), False)
    candidates = Candidates(box, torch.tensor([.2]), torch.tensor([0]),
                            torch.tensor([[.3]]))
    assert targets.match(candidates).tolist() == [pytest.approx(.2)]


def test_match_regions_of_several_classes():
    box = torch.tensor([[0., 0, 2, 2], [0, 0, 2, 1]])
    targets = Targets(box[:1], torch.tensor([1]), torch.tensor([[0., 1]]),
                      False)
    candidates = Candidates(
        box[[0, 1, 1]], torch.ones(3), torch.tensor([0, 0, 1]),
        torch.tensor([[1., 0], [0, 1]]), torch.tensor([0, 1, 1]))
    assert targets.match(candidates).tolist() == [pytest.approx(.5)]


def test_match_without_probabilities_asks_for_the_class():
    box = torch.tensor([[0., 0, 2, 2]])
    targets = Targets(box.repeat(2, 1), torch.tensor([0, 1]), None, False)
    candidates = Candidates(
        torch.cat([box, box / 2]), torch.tensor([.5, .8]),
        torch.tensor([0, 0]))
    assert targets.match(candidates).tolist() == [.5, 0]
    none = Candidates(box[:0], torch.zeros(0), torch.zeros(0))
    assert targets.match(none).tolist() == [0, 0]


def test_boxes_without_an_area():
    point = torch.tensor([[1., 1, 1, 1]])
    targets = Targets(point, torch.tensor([0]), None, True)
    same = Candidates(point, torch.tensor([.5]), torch.tensor([0]))
    assert targets.match(same).tolist() == [0]


def test_target_that_no_candidate_overlaps_has_its_class(squares):
    """Boxes that are merged from several need not be one of them."""
    trace = trace_squares(squares)
    far = Candidates(
        torch.tensor([[150., 120, 151, 121], SQUARES[1]]),
        torch.tensor([.5, .5]),
        torch.tensor([0, 1]), torch.tensor([[.7, .1, .2], [.2, .6, .1]]))
    trace = replace(
        trace, input=replace(trace.input, candidates=lambda images: [far]))
    torch.testing.assert_close(
        Targets.of_trace(trace, True).probabilities,
        torch.tensor([[1., 0, 0], [.2, .6, .1]]))
