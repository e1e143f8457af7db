"""What speaks for a detection and what against it, against maps without
ReLU as plainly as they can be computed."""
import pytest
import torch
from demo import SCENE, demo_detector
from families import FAMILIES, SIZE, batch_of, random_detector, random_image
from naive import gradients_of, stride_of, to_image

from mmdet_diffmap import explain
from mmdet_diffmap.apis import class_names
from mmdet_diffmap.explainers import build_explainer
from mmdet_diffmap.explainers.engine import check_explainable
from mmdet_diffmap.maps.heatmaps import GridMaps, signed_heatmaps
from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.trace import OUTPUTS

COUNT = 2
GRADIENT_METHODS = ['odam', 'grad-cam', 'grad-cam++', 'ss-grad-cam',
                    'ss-grad-cam++', 'layer-cam', 'hires-cam', 'xgrad-cam',
                    'eigen-grad-cam']


def product(gradient, feature):
    """ODAM's map without ReLU."""
    return (gradient * feature).sum(dim=0)


def weighted(gradient, feature):
    """Grad-CAM's."""
    return (gradient.mean(dim=(1, 2), keepdim=True) * feature).sum(dim=0)


def signed_maps(plain, level_map):
    """Signed maps of the original image's size, each divided by its largest
    absolute value."""
    maps = []
    for (of_levels, ) in plain.gradients:
        sides = [torch.zeros(1), torch.zeros(1)]
        for gradient, feature in zip(of_levels, plain.features):
            if gradient is None:
                continue
            grid = level_map(gradient, feature.detach()[0])
            for side, sign in enumerate((1, -1)):
                sides[side] = torch.maximum(sides[side], to_image(
                    (sign * grid).relu(), stride_of(plain.input_shape,
                                                    feature), plain.meta))
        signed = sides[0] - sides[1]
        maps.append(signed / signed.abs().max())
    return torch.stack(maps)


@pytest.mark.parametrize('family', [
    family for family in FAMILIES if family != 'detr'])
@pytest.mark.parametrize('method, level_map', [
    ('odam', product), ('grad-cam', weighted)])
def test_against_plain_maps(family, method, level_map):
    model = random_detector(family)
    data = batch_of(model, random_image(*SIZE))
    trace = DetectorAdapter(model).trace(data).select(slice(COUNT))
    maps = build_explainer(method).weigh(trace).maps
    expected = signed_maps(gradients_of(model, data, COUNT, 1), level_map)
    if method == 'odam':
        assert (maps < 0).any() and (maps > 0).any()
    assert maps.any() and (maps - expected).abs().max() < 1e-4


@pytest.mark.parametrize('method', [
    'grad-cam++', 'ss-grad-cam', 'ss-grad-cam++', 'odam', 'layer-cam',
    'hires-cam', 'xgrad-cam', 'eigen-grad-cam'])
def test_the_other_sign_exchanges_both(method):
    """What speaks for a number speaks against its negative."""
    model = random_detector('fcos')
    data = batch_of(model, random_image(*SIZE))
    trace = DetectorAdapter(model).trace(data).select(slice(COUNT))
    explainer = build_explainer(method)
    maps = explainer.weigh(trace).maps
    negative = explainer.weigh(
        trace.with_score(-trace.outputs[:, 0])).maps
    assert maps.abs().amax(dim=(1, 2)).tolist() == [1.] * COUNT
    assert (maps + negative).abs().max() < 1e-5


@pytest.mark.parametrize('method', ['d-rise', 'eigen-cam', 'ablation-cam'])
def test_methods_without_gradients_cannot_tell(method):
    model = random_detector('fcos')
    data = batch_of(model, random_image(*SIZE))
    trace = DetectorAdapter(model).trace(data).select(slice(COUNT))
    assert build_explainer(method).weigh(trace) is None


def test_a_scalar_of_ones_own():
    """A width is what its two sides make of it."""
    model = random_detector('fcos')
    data = batch_of(model, random_image(*SIZE))
    trace = DetectorAdapter(model).trace(data).select([0])
    with torch.enable_grad():
        width = trace.outputs[:, 3] - trace.outputs[:, 1]

    def sums(trace, output):
        total = 0
        for gradients in trace.gradients([output]):
            for level in gradients.levels:
                total = total + level.spread().feature_sums()
        return total

    torch.testing.assert_close(
        sums(trace.with_score(width), 'score'),
        sums(trace, 'x2') - sums(trace, 'x1'), rtol=1e-4, atol=1e-5)


def test_zero_stays_where_it_is():
    trace = DetectorAdapter(random_detector('fcos')).trace(
        batch_of(random_detector('fcos'), random_image(*SIZE)))
    grid = torch.full((2, 4, 6), 3.)
    speak_for = [GridMaps.of_whole_level(grid)]
    speak_against = [GridMaps.of_whole_level(
        grid * torch.tensor([0., 2.])[:, None, None])]
    maps = signed_heatmaps(speak_for, speak_against, 3, trace.frame,
                           torch.device('cpu'))
    torch.testing.assert_close(maps[0], torch.ones_like(maps[0]))
    torch.testing.assert_close(maps[1], -torch.ones_like(maps[1]))
    assert not maps[2].any()
    with pytest.raises(FloatingPointError, match='not finite'):
        signed_heatmaps([GridMaps.of_whole_level(grid * torch.inf)], [], 2,
                        trace.frame, torch.device('cpu'))


@pytest.mark.parametrize('family', ['fcos', 'faster_rcnn'])
@pytest.mark.parametrize('method, level_map', [
    ('odam', product), ('grad-cam', weighted)])
def test_either_side_alone(family, method, level_map):
    """What speaks against the score is the heat map of its negative."""
    model = random_detector(family)
    data = batch_of(model, random_image(*SIZE))
    trace = DetectorAdapter(model).trace(data).select(slice(COUNT))
    plain = gradients_of(model, data, COUNT, 1)
    sides = {
        'for': plain.heatmaps(level_map),
        'against': plain.heatmaps(lambda gradient, feature: -level_map(
            gradient, feature))}
    for side, expected in sides.items():
        maps = build_explainer(method, outputs='score', tolerance=0,
                               evidence=side)(trace)
        assert (maps - expected).abs().max() < 1e-4, side
    assert (sides['for'] - sides['against']).abs().max() > 0.5


@pytest.mark.parametrize('method', GRADIENT_METHODS)
def test_both_sides_are_made_of_the_same_gradients(method):
    model = random_detector('fcos')
    data = batch_of(model, random_image(*SIZE))
    trace = DetectorAdapter(model).trace(data).select(slice(COUNT))
    options = dict(outputs=('contrast', '-width'), tolerance=0)
    both = build_explainer(method, evidence='both', **options).maps(trace)
    torch.testing.assert_close(build_explainer(method, **options)(trace),
                               both.heatmaps)
    signed = both.evidence.maps
    against = build_explainer(method, evidence='against', **options)(trace)
    # where only one side says something, it says the same
    alone = (both.heatmaps == 0) & (against > 0)
    assert not (signed[alone] > 0).any()
    assert signed.abs().amax(dim=(1, 2)).tolist() == [1.] * COUNT
    assert [meaning.above for meaning in both.meanings] == [
        'raises contrast and -width'] * COUNT


def test_zero_does_not_move_where_outputs_are_normalised():
    model = random_detector('fcos')
    data = batch_of(model, random_image(*SIZE))
    trace = DetectorAdapter(model).trace(data).select(slice(COUNT))
    torch.testing.assert_close(
        build_explainer('odam', normalize_outputs=True).weigh(trace).maps,
        build_explainer('odam').weigh(trace).maps)
    with pytest.raises(ValueError, match='does not go with several outputs'):
        build_explainer('odam', normalize_outputs=True, evidence='both',
                        outputs=['x1', 'x2'])


def test_what_is_explained_unless_told():
    """A side's coordinate has nothing that speaks against it."""
    assert build_explainer('odam').outputs == OUTPUTS
    for evidence in 'against', 'both':
        assert build_explainer('odam', evidence=evidence).outputs == (
            'score', )
    assert build_explainer('odam', evidence='both',
                           outputs=['x1']).outputs == ('x1', )
    assert build_explainer('layer-cam', outputs='area').outputs == ('area', )
    with pytest.raises(ValueError, match='evidence must be for, against or '
                       'both, not all'):
        build_explainer('grad-cam', evidence='all')
    for method in 'd-rise', 'eigen-cam', 'ablation-cam':
        with pytest.raises(ValueError, match='evidence'):
            build_explainer(method, evidence='both')


def test_results_say_what_their_maps_mean():
    model = demo_detector()
    sample = explain(model, SCENE, dict(
        type='ODAM', outputs='contrast:tree', evidence='both'),
        max_objects=3)
    instances = sample.pred_instances
    names = [class_names(model)[label] for label in instances.labels]
    assert 'tree' in class_names(model) and set(names) != {'tree'}
    for name, meaning, signed in zip(names, instances.meanings,
                                     instances.evidence_maps):
        if name == 'tree':
            assert meaning.question == 'it is tree' and not signed.any()
        else:
            assert meaning.question == f'why {name} and not tree'
            assert signed.min() >= -1 and signed.max() <= 1
            assert signed.abs().max() == 1
    assert instances.difference_maps.shape == instances.evidence_maps.shape
    plain = explain(model, SCENE, 'ODAM', max_objects=3).pred_instances
    assert 'evidence_maps' not in plain and 'meanings' not in plain


@pytest.mark.parametrize('outputs', ['contrast:unicorn', 'logit:unicorn'])
def test_classes_are_looked_at_before_the_work(outputs):
    for method in 'odam', 'grad-cam-diff':
        with pytest.raises(ValueError, match="no class 'unicorn'"):
            check_explainable(demo_detector(), [
                build_explainer(method, outputs=outputs)])
