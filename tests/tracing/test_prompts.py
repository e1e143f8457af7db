"""Detectors that are asked with a text, against the gradients of the host's
own, whole prediction."""
import sys

import pytest
import torch
from families import batch_of as plain_batch
from families import random_detector, random_image
from mmdet.models.dense_heads import DETRHead
from naive import preprocess
from prompted import (
    ASKED,
    KINDS,
    PHRASES,
    batch_of,
    predicted,
    prompted_detector,
)

from mmdet_diffmap.apis import Prompt
from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.filtering import Fate
from mmdet_diffmap.tracing.trace import OUTPUTS, whole_gradients
from mmdet_diffmap.tracing.word_scores import words_of

CHOSEN = [0, 5]


def leave(tensor):
    return tensor.detach().requires_grad_()


def naive(model, data, monkeypatch):
    """Predict as the host does, with the neck's maps and the text's features
    as leaves, and without what GLIP's head detaches."""
    maps, features = [], []

    def cut_maps(module, args, output):
        maps[:] = [leave(level) for level in output]
        return tuple(maps)

    def cut_text(module, args, output):
        made = {name: leave(output[name]) for name in ('embedded', 'hidden')}
        features.extend(made.values())
        return dict(output, **made)

    module = sys.modules[type(model.bbox_head).__module__]
    if hasattr(module, 'select_single_mlvl'):
        monkeypatch.setattr(module, 'select_single_mlvl',
                            lambda levels, index, detach: [
                                level[index] for level in levels])
    inputs, samples = preprocess(model, data)
    hooks = [model.neck.register_forward_hook(cut_maps),
             model.language_model.register_forward_hook(cut_text)]
    try:
        (sample, ) = model.predict(inputs, samples)
    finally:
        for hook in hooks:
            hook.remove()
        monkeypatch.undo()
    return maps, features, sample


def gradients_of(value, leaves):
    return [torch.zeros_like(leaf) if gradient is None else gradient
            for leaf, gradient in zip(leaves, torch.autograd.grad(
                value, leaves, retain_graph=True, allow_unused=True))]


@pytest.fixture(scope='module', params=KINDS)
def model(request):
    return prompted_detector(request.param)


def test_gradients_are_those_of_the_whole_prediction(model, monkeypatch):
    data = batch_of(model)
    maps, _, sample = naive(model, data, monkeypatch)
    results = sample.pred_instances
    trace = DetectorAdapter(model).trace(data)
    for name in 'bboxes', 'scores', 'labels':
        assert torch.equal(trace.detections[name], results[name].detach())
        assert torch.equal(trace.detections[name],
                           predicted(model, data)[name])
    ours = whole_gradients(trace.select(CHOSEN).gradients())
    scale = results.bboxes.new_tensor(sample.scale_factor * 2)
    for number, detection in enumerate(CHOSEN):
        values = results.scores[detection], *(
            results.bboxes[detection] * scale)
        for output, value in zip(OUTPUTS, values):
            expected = gradients_of(value, maps)
            largest = max(gradient.abs().max() for gradient in expected)
            for level, gradient in enumerate(expected):
                got = ours.get((number, output), {}).get(
                    level, torch.zeros(()))
                assert (got - gradient[0]).abs().max() <= 1e-5 * largest
        assert ours[number, 'score']


@pytest.mark.parametrize('output', ['score', 'x2'])
def test_words_are_those_of_the_whole_prediction(model, output, monkeypatch):
    """Token by token: gradient times features less their mean, summed over
    the tokens of each word; ``zebra`` is spelled."""
    data = batch_of(model)
    _, features, sample = naive(model, data, monkeypatch)
    results = sample.pred_instances
    trace = DetectorAdapter.of_text(model).trace(data).select(CHOSEN)
    words = trace.prompt.word_scores(trace, output)
    caption = trace.prompt.caption
    assert words[0].words == [*['a', 'red', 'car', '.'], *['a', 'zebra', '.'],
                              *['the', 'dog'], *'.' * caption.endswith(
                                  '. ')]
    tokenizer = model.language_model.tokenizer
    spans = tokenizer(caption, return_offsets_mapping=True)['offset_mapping']
    assert len(spans) > 2 + len(words[0].words)
    for number, detection in enumerate(CHOSEN):
        value = results.scores[detection] if output == 'score' else \
            results.bboxes[detection, 2] * sample.scale_factor[0]
        tokens = torch.zeros(len(spans))
        for feature, gradient in zip(features,
                                     gradients_of(value, features)):
            feature = feature.detach()[0, :len(spans)]
            tokens += ((feature - feature.mean(dim=0)) *
                       gradient[0, :len(spans)]).sum(dim=1)
        expected = [sum(token for token, (start, end) in zip(tokens, spans)
                        if first <= start < end <= last)
                    for first, last in words[number].spans]
        torch.testing.assert_close(
            words[number].values, torch.stack(list(map(torch.as_tensor,
                                                       expected))),
            rtol=1e-4, atol=1e-5 * float(tokens.abs().max() + 1e-9))
        rest = tokens[0] + tokens[-1]  # the marks of beginning and end
        assert words[number].rest == pytest.approx(
            float(rest), abs=1e-5 * float(tokens.abs().max() + 1e-9))
        if output == 'score':
            assert words[number].values.abs().max() > 1e-6


def test_features_of_a_scale_that_does_not_matter_still_count():
    """GLIP normalises each token's features, so that their gradient is
    orthogonal to them: without their mean, every word would count nothing."""
    model = prompted_detector('glip')
    trace = DetectorAdapter.of_text(model).trace(batch_of(model)).select([0])
    (gradients, ) = trace.gradients(['score'])
    largest = 0.0
    for level in gradients.levels:
        scale = (level.gradients.abs() * level.activations.abs()).sum()
        assert level.feature_sums().abs().max() < 1e-5 * scale
        largest = max(largest, float(scale))
    (words, ) = trace.prompt.word_scores(trace, 'score')
    assert words.values.abs().max() > 1e-3 * largest


def test_phrases_are_classes(model):
    """Their probabilities are what the host makes of the head's logits."""
    from mmdet.models.dense_heads.atss_vlfusion_head import (
        convert_grounding_to_cls_scores,
    )
    data = batch_of(model)
    raw = []
    hook = model.bbox_head.register_forward_hook(
        lambda module, args, output: raw.append(output[0]))
    trace = DetectorAdapter(model).trace(data)
    hook.remove()
    maps, *_ = model.get_tokens_positive_and_prompts(ASKED.text, True)
    logits = raw[0][-1] if raw[0][0].dim() > 3 else torch.cat(
        list(raw[0]), dim=1)
    if logits.dim() == 4:  # of the last layer
        logits = logits[-1]
    known = convert_grounding_to_cls_scores(logits.detach().sigmoid(),
                                            [maps])[0]
    assert trace.prompt.phrases == trace.classes.names == PHRASES
    own = trace.classes.probabilities[trace.classes.rows].detach()
    apart = (own[:, None] - known[None]).abs().amax(dim=2).amin(dim=1)
    assert apart.max() < 1e-6
    labels = trace.detections.labels
    for label, phrase in enumerate(PHRASES):
        torch.testing.assert_close(
            trace.output(f'probability:{phrase}').detach(), own[:, label])
        torch.testing.assert_close(
            trace.output(f'logit:{phrase}').detach(), own[:, label].logit(),
            rtol=1e-4, atol=1e-5)
    of_label = own.gather(1, labels[:, None])[:, 0]
    if model.bbox_head.test_cfg.get('nms'):  # GLIP's has a centreness, too
        assert (of_label >= trace.detections.scores**2 - 1e-6).all()
    else:
        assert torch.equal(of_label, trace.detections.scores)
    with pytest.raises(ValueError, match=r"no class 'a horse'.*it has a red"):
        trace.output('probability:a horse')


def test_one_detection_by_each_phrase(model):
    trace = DetectorAdapter(model).trace(batch_of(model))
    rows = trace.of_classes(4)
    assert rows.detections.labels.tolist() == [0, 1, 2]
    assert torch.equal(rows.detections.bboxes,
                       trace.detections.bboxes[[4, 4, 4]])
    together = whole_gradients(rows.gradients(['score']))
    for label, phrase in enumerate(PHRASES):
        assert rows.detections.scores[label] == trace.output(
            f'probability:{phrase}')[4]
        alone = whole_gradients(trace.select([4]).gradients(
            [f'probability:{phrase}']))
        for level, gradient in alone[0, f'probability:{phrase}'].items():
            torch.testing.assert_close(
                together[label, 'score'][level], gradient, rtol=1e-4,
                atol=1e-5 * float(gradient.abs().max()))
    assert trace.of_classes(4, [2]).detections.labels.tolist() == [2]


def test_candidates_are_all_phrases_of_all_places(model):
    found = DetectorAdapter(model).trace_candidates(batch_of(model))
    kept = (found.filtering.fates == Fate.KEPT).nonzero()[:, 0]
    final = predicted(model, batch_of(model))
    assert len(found.trace) > len(final)
    chosen = found.trace.detections[kept]
    order = chosen.scores.argsort(descending=True, stable=True)
    torch.testing.assert_close(chosen.scores[order], final.scores)
    if isinstance(model.bbox_head, DETRHead):
        assert len(found.trace) == model.num_queries * len(PHRASES)
    assert found.trace.classes.names == PHRASES


@pytest.mark.parametrize('kind', KINDS)
def test_a_text_in_parts(kind, monkeypatch):
    """The head runs for one part after the other: nothing is cut."""
    model = prompted_detector(kind, chunked_size=2)
    data = batch_of(model, Prompt(('car', 'old zebra', 'dog')))
    expected = predicted(model, data)
    adapter = DetectorAdapter(model)
    trace = adapter.trace(data)
    assert torch.equal(trace.detections.scores, expected.scores)
    assert torch.equal(trace.detections.labels, expected.labels)
    assert trace.prompt.phrases == ('car', 'old zebra', 'dog')
    with pytest.raises(ValueError, match='has no probability of those of '
                       'another part: give fewer phrases, or --cfg-options'):
        trace.output('probability:dog')
    chosen = int((expected.labels == 2).nonzero()[0])  # of the second part
    ours = whole_gradients(trace.select([chosen]).gradients(['score']))
    maps, _, sample = naive_in_parts(model, data, monkeypatch)
    gradients = gradients_of(sample.pred_instances.scores[chosen], maps)
    largest = max(gradient.abs().max() for gradient in gradients)
    assert largest > 0
    for level, gradient in enumerate(gradients):
        got = ours[0, 'score'].get(level, torch.zeros(()))
        assert (got - gradient[0]).abs().max() <= 1e-5 * largest
    text = DetectorAdapter.of_text(model).trace(data).select([chosen])
    (words, ) = text.prompt.word_scores(text, 'score')
    counts = dict(zip(words.words, words.values.tolist()))
    assert counts['dog'] and not counts['car'] and not counts['zebra']
    images = torch.stack([trace.input.image] * 2)
    assert len(trace.input.candidates(images)) == 2
    assert torch.equal(trace.input.detections(images)[1].labels,
                       expected.labels)


@pytest.mark.parametrize('kind', KINDS)
def test_a_text_that_fits_into_one_part(kind):
    """It is read as one without parts, also as a text with full stops, of
    which mmdet by itself would take the letters."""
    prompt = Prompt('car . dog', custom_entities=True)
    model = prompted_detector(kind, chunked_size=2)
    trace = DetectorAdapter(model).trace(batch_of(model, prompt))
    whole = prompted_detector(kind)
    expected = DetectorAdapter(whole).trace(batch_of(whole, prompt))
    for output in 'score', 'probability:dog', 'contrast':
        assert torch.equal(trace.output(output), expected.output(output))
    with pytest.raises(ValueError, match=r'in parts .* by its phrases: sepa'):
        DetectorAdapter(model).trace(batch_of(model, Prompt('car and dog')))


def naive_in_parts(model, data, monkeypatch):
    """As :func:`naive`; maps with a graph cannot be copied by the host."""
    from copy import deepcopy
    module = sys.modules[type(model).__module__]

    class Copies:
        deepcopy = staticmethod(
            lambda value: value if isinstance(value, tuple) else
            deepcopy(value))

    monkeypatch.setattr(module, 'copy', Copies)
    return naive(model, data, monkeypatch)


def test_phrases_by_their_places(model):
    """The config's ``meta_keys`` of GLIP leave them out."""
    prompt = Prompt('a red car and a dog',
                    tokens_positive=[[[0, 1], [6, 9]], [[14, 19]]])
    data = batch_of(model, prompt)
    trace = DetectorAdapter(model).trace(data)
    assert trace.prompt.phrases == ('a / car', 'a dog')
    assert torch.equal(trace.detections.scores,
                       predicted(model, data).scores)
    trace.output('contrast:a / car/a dog')


def test_the_whole_text_as_one_phrase():
    prompt = Prompt('a red car and a dog', tokens_positive=-1)
    model = prompted_detector('grounding_dino')
    trace = DetectorAdapter(model).trace(batch_of(model, prompt))
    assert trace.prompt.phrases == ('a red car and a dog.', )
    assert not trace.detections.labels.any()
    assert whole_gradients(trace.select([0]).gradients(['score']))
    with pytest.raises(ValueError, match='does not tell how probable'):
        trace.output('probability:a dog')
    model = prompted_detector('glip')
    with pytest.raises(ValueError, match='cannot take a whole text as one'):
        DetectorAdapter(model).trace(batch_of(model, prompt))


def test_texts_that_cannot_be_read(model, monkeypatch):
    adapter = DetectorAdapter(model)
    data = batch_of(model)
    del data['data_samples'][0].text
    with pytest.raises(ValueError, match='looks for what a text names: give'):
        adapter.trace(data)
    long = Prompt(' . '.join(['zebra'] * 150), custom_entities=True)
    with pytest.raises(ValueError, match=r"no word of 'zebra': of a text, it"
                       ' takes 256 tokens, and this one has [0-9]{3}; give'):
        adapter.trace(batch_of(model, long))
    # the last token that there is room for marks the end
    for count, words in (128, 255), (127, 253):
        edge = Prompt(('dog', ) * count)
        assert len(model.language_model.tokenizer(
            '. '.join(edge.text)).input_ids) == words + 2
        if count == 127:
            adapter.trace(batch_of(model, edge))
            continue
        with pytest.raises(ValueError, match='reads no word of \'dog\''):
            adapter.trace(batch_of(model, edge))
    with pytest.raises(ValueError, match='the language model skips its lett'):
        adapter.trace(batch_of(model, Prompt(('dog', '\u200b'))))
    host = sys.modules['mmdet.models.detectors.glip']

    def missing(caption):
        raise LookupError('Resource punkt not found. Please use the NLTK')

    monkeypatch.setattr(host, 'find_noun_phrases', missing)
    with pytest.raises(ValueError, match='takes nltk and .* --custom-entities|'
                       r'takes nltk and .*\(--custom-entities\)'):
        adapter.trace(batch_of(model, Prompt('a red car and a dog')))
    monkeypatch.setattr(host, 'find_noun_phrases', lambda caption: [])
    with pytest.raises(ValueError, match='the text names nothing'):
        adapter.trace(batch_of(model, Prompt('very quickly')))
    monkeypatch.setattr(host, 'find_noun_phrases',
                        lambda caption: ['a red car', 'a dog'])
    trace = adapter.trace(batch_of(model, Prompt('A red car and a dog')))
    assert trace.prompt.phrases == ('a red car', 'a dog')
    # two labels of "a dog", of which the second is called "a red car"
    monkeypatch.setattr(host, 'find_noun_phrases',
                        lambda caption: ['a dog', 'a red car', 'a dog'])
    with pytest.raises(ValueError, match=r"mixes up .*'a dog' gets the name "
                       "'a red car'.*, as where one stands in it twice"):
        adapter.trace(batch_of(model, Prompt('a dog, a red car, a dog')))


@pytest.mark.parametrize('text, tokens, words', [
    ('a red-hot car.', (), ['a', 'red-hot', 'car', '.']),
    ("the man's 5 € _x", (), ['the', "man's", '5', '€', '_x']),
    ('cafe\u0301 ला', (), ['cafe\u0301', 'ला']),  # accents, vowel signs
    ('\u2764\ufe0f!', (), ['\u2764\ufe0f', '!']),
    ('5€ now', [(0, 2), (3, 6)], ['5€', 'now']),  # one token
    ('a now', [(0, 1), (1, 5)], ['a', 'now']),  # with the space before it
    (' \u0301', (), []),
])
def test_words_of_a_text(text, tokens, words):
    spans = words_of(text, tokens)
    assert [text[first:end] for first, end in spans] == words


def test_nothing_is_left_behind(model):
    before = {name: len(module._forward_hooks)
              for name, module in model.named_modules()}
    DetectorAdapter.of_text(model).trace(batch_of(model))
    with pytest.raises(ValueError):
        DetectorAdapter(model).trace(
            batch_of(model, Prompt(' . '.join(['zebra'] * 150), True)))
    assert 'get_tokens_positive_and_prompts' not in vars(model)
    assert before == {name: len(module._forward_hooks)
                      for name, module in model.named_modules()}
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_detector_without_a_text_has_no_prompt():
    model = random_detector('fcos')
    trace = DetectorAdapter(model).trace(
        plain_batch(model, random_image(75, 130)))
    assert trace.prompt is None
