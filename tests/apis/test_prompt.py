"""Prompts, and all that users call with them."""
import json

import cv2
import numpy as np
import pytest
import torch
from demo import demo_detector
from families import random_image
from prompted import (
    ASKED,
    PHRASES,
    SIZE,
    batch_of,
    predicted,
    prompted_detector,
)

from mmdet_diffmap import (
    Prompt,
    difference_map,
    explain,
    explain_pair,
    explain_phrases,
    explain_video,
)
from mmdet_diffmap.apis import (
    CocoWriter,
    DiffMapInferencer,
    build_detector,
    compare_files,
    explain_files,
)
from mmdet_diffmap.apis.prompt import read_tokens_positive
from mmdet_diffmap.datasets import render_scene
from mmdet_diffmap.explainers import build_explainer
from mmdet_diffmap.explainers.engine import Selection
from mmdet_diffmap.io.video_files import writing
from mmdet_diffmap.lab.zoo.prompted import prompted_config
from mmdet_diffmap.serve.session import Question, Session

ALL = Selection(0, 3)
TEXT = 'a red car and a dog'


@pytest.fixture(scope='module')
def model():
    return prompted_detector('grounding_dino')


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    path = str(tmp_path_factory.mktemp('image') / 'image.png')
    cv2.imwrite(path, random_image(*SIZE))
    return path


def test_entries_of_mmdets_pipelines():
    assert Prompt('a cat . a dog.', True).entries() == Prompt(
        ['a cat', 'a dog']).entries() == dict(
        text=('a cat', 'a dog'), custom_entities=True, tokens_positive=None)
    assert Prompt(['cat', 'dog']).entries() == dict(
        text=('cat', 'dog'), custom_entities=True, tokens_positive=None)
    classes = Prompt('$: coco').text
    assert len(classes) == 80 and classes[2] == 'car'
    places = read_tokens_positive('[[[2, 9]], [[14, 19]]]')
    assert Prompt(TEXT, tokens_positive=places).entries()[
        'tokens_positive'] == [[[2, 9]], [[14, 19]]]
    assert Prompt(TEXT, tokens_positive=read_tokens_positive('-1')
                  ).tokens_positive == -1
    assert Prompt.of(None) is None and Prompt.of(ASKED) is ASKED
    assert Prompt.of('a cat') == Prompt('a cat')


@pytest.mark.parametrize('arguments, message', [
    (('', ), 'the text is empty'),
    ((' . ', True), 'the text is empty'),
    ((('', 'cat'), ), "the phrase '' names nothing$"),
    (('dog . (red)', True), r"the phrase '\(red\)' names nothing, since mmdet "
     'leaves out what is in parentheses'),
    (('_', True), "the phrase '_' names nothing$"),
    (('$: cocoa', ), "no data set 'cocoa'"),
    (((1, 2), ), 'a text, or names of things'),
    ((TEXT, True, [[[0, 1]]]), 'without custom entities'),
    ((TEXT, False, [[0, 9]]), 'must be -1, or of each phrase a list'),
    ((TEXT, False, -2), 'must be -1, or of each phrase a list'),
    ((TEXT, False, [[]]), 'a phrase without a place'),
    ((TEXT, False, []), 'a phrase without a place'),
    ((TEXT, False, [[[15, 20]]]), r'\[15, 20\] is no part .* 19 characters'),
])
def test_prompts_that_make_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        Prompt(*arguments)


def test_written_places_that_are_none():
    with pytest.raises(ValueError, match='is no list: write it as'):
        read_tokens_positive('0 to 9')


def test_explained_objects_have_phrases_and_words(model, path):
    sample = explain(model, path, score_thr=0, max_objects=3, prompt=ASKED)
    objects, host = sample.pred_instances, predicted(model, batch_of(model))
    assert torch.equal(objects.scores, host.scores[:3])
    assert sample.phrases == list(PHRASES) and sample.text == ASKED.text
    assert objects.label_names == [
        name.strip() for name in host.label_names[:3]]
    assert len(objects.words) == 3
    assert {words.output for words in objects.words} == {'score'}
    asked = explain(model, path, dict(type='ODAM', outputs='logit:a zebra'),
                    score_thr=0, max_objects=1, prompt=ASKED)
    (words, ) = asked.pred_instances.words
    assert words.output == 'logit:a zebra' and words.values.any()
    # no gradient, no words
    plain = explain(model, path, dict(type='DRISE', masks=4), score_thr=0,
                    max_objects=1, prompt=ASKED)
    assert 'words' not in plain.pred_instances
    assert plain.phrases == list(PHRASES)


def test_phrases_of_one_object(model, path):
    outputs = [f'probability:{phrase}' for phrase in PHRASES]
    sample = explain_phrases(model, path, 1, ASKED, selection=ALL)
    rows = sample.pred_instances
    assert rows.label_names == list(PHRASES)
    alone = [explain(model, path, dict(type='ODAM', outputs=output),
                     score_thr=0, max_objects=2, prompt=ASKED
                     ).pred_instances for output in outputs]
    for row, one in enumerate(alone):
        torch.testing.assert_close(rows.heatmaps[row], one.heatmaps[1],
                                   rtol=0, atol=1e-4)
        assert torch.equal(rows.bboxes[row], one.bboxes[1])
        torch.testing.assert_close(rows.words[row].values,
                                   one.words[1].values)
    assert torch.equal(rows.difference_maps, difference_map(rows.heatmaps))
    some = explain_phrases(model, path, 1, ASKED, names=['the dog'],
                           selection=ALL).pred_instances
    assert some.label_names == ['the dog']
    with pytest.raises(ValueError, match='no object 3: the detector finds 3'):
        explain_phrases(model, path, 3, ASKED, selection=ALL)
    with pytest.raises(ValueError, match='no class \'a cow\''):
        explain_phrases(model, path, 1, ASKED, names=['a cow'],
                        selection=ALL)


def test_classes_of_one_object_of_any_detector():
    detector, scene = demo_detector(), render_scene(0, 2).image
    rows = explain_phrases(detector, scene, 0, names=['fish', 'tree']
                           ).pred_instances
    first = explain(detector, scene).pred_instances
    assert rows.labels.tolist() == [0, 1]
    assert torch.equal(rows.bboxes[1], first.bboxes[0])
    with pytest.raises(ValueError, match=r'asked with no text.*name classes'):
        explain_phrases(detector, scene, 0)


def test_a_text_too_many_and_one_too_few(model, path):
    with pytest.raises(ValueError, match='GroundingDINO looks for what a text'
                       ' names: give texts'):
        explain(model, path)
    with pytest.raises(ValueError, match='FCOS has no language branch, so it '
                       'cannot take texts'):
        explain(demo_detector(), path, prompt='a cat')
    with pytest.raises(ValueError, match='texts: give no prompt'):
        explain(model, batch_of(model), prompt=ASKED)
    assert len(explain(model, batch_of(model), 'layer-cam', 0, 2)[
        0].pred_instances) == 2
    for call in (lambda **asked: explain_files(model, [path], **asked),
                 lambda **asked: compare_files(dict(a=model), [path], 0,
                                               **asked),
                 lambda **asked: explain_pair(model, path, 0, 1, **asked),
                 lambda **asked: explain_video(model, path, 'a.mp4', **asked),
                 lambda **asked: Session(model, {}, ALL, **asked)):
        with pytest.raises(ValueError, match='give texts'):
            call()


def test_files(model, path, tmp_path):
    assert explain_files(model, [path], tmp_path, selection=ALL, save_npz=True,
                         writers=[CocoWriter()], prompt=ASKED) == {}
    sample = explain(model, path, score_thr=0, max_objects=3, prompt=ASKED)
    objects = sample.pred_instances
    with np.load(tmp_path / 'maps/image.npz') as maps:
        assert maps['class_names'].tolist() == list(PHRASES)
        assert maps['word_values'].shape == (3, len(objects.words[0].spans))
        assert np.array_equal(maps['word_values'][2],
                              objects.words[2].values.numpy())
        caption = str(maps['caption'])
        assert [caption[first:end] for first, end in maps['word_spans']] == \
            objects.words[0].words
    content = json.loads((tmp_path / 'detections.json').read_text())
    assert [one['name'] for one in content['categories']] == list(PHRASES)
    words = content['annotations'][0]['words']['odam']
    assert words['caption'] == caption and words['output'] == 'score'
    assert words['values'] == objects.words[0].values.tolist()


@pytest.mark.slow
def test_two_objects_and_comparisons(model, path, tmp_path):
    pair = explain_pair(model, path, 0, 1, selection=ALL, prompt=ASKED)
    assert pair.separation_maps.shape == (2, *SIZE)
    assert compare_files(dict(a=model), [path], 1, tmp_path,
                         dict(layer='layer-cam'), ALL, prompt=ASKED) == {}
    assert (tmp_path / 'compare/image.png').is_file()


@pytest.mark.slow
def test_video(model, path, tmp_path):
    with writing(tmp_path / 'in.mp4', 5, (70, 46)) as write:
        write(np.resize(random_image(46, 70), (46, 70, 3)))
    assert explain_video(
        model, tmp_path / 'in.mp4', tmp_path / 'out.mp4', 'layer-cam', 0, 2,
        show_progress=False, prompt=ASKED) == 1


@pytest.mark.slow
def test_inferencer(path, tmp_path):
    weights = tmp_path / 'weights.pth'
    cfg = prompted_config('grounding_dino')
    torch.save(dict(state_dict=prompted_detector(
        'grounding_dino').state_dict()), weights)
    inferencer = DiffMapInferencer(cfg, weights, 'cpu', show_progress=False,
                                   explainer='layer-cam', max_objects=2)
    with pytest.raises(ValueError, match='looks for what a text names'):
        inferencer(path)
    with pytest.raises(ValueError, match='2 texts for 1 images'):
        inferencer(path, texts=['a cat', 'a dog'])
    (found, ) = inferencer(
        path, texts=' . '.join(PHRASES), custom_entities=True,
        pred_score_thr=0, out_dir=str(tmp_path),
        no_save_pred=False)['predictions']
    assert set(found['label_names']) <= set(PHRASES)
    assert found['words'][0]['output'] == 'score'
    assert (tmp_path / 'vis/image.png').is_file()
    saved = json.loads((tmp_path / 'preds/image.json').read_text())
    assert saved['label_names'] == found['label_names']
    inferencer.pipeline.transforms[-1].meta_keys += ('stuff_text', )
    each = inferencer([path, random_image(*SIZE)], batch_size=2,
                      texts=[('cat', 'dog'), 'red bus'], pred_score_thr=0,
                      custom_entities=True, return_datasamples=True,
                      stuff_texts='grass')['predictions']
    assert [one.phrases for one in each] == [['cat', 'dog'], ['red bus']]
    assert each[0].stuff_text == 'grass'
    (found, ) = inferencer(path, texts=TEXT, pred_score_thr=0,
                           tokens_positive=[[[14, 19]]])['predictions']
    assert set(found['label_names']) == {'a dog'}


def test_served_photographs(model, path):
    session = Session(model, dict(layer=build_explainer('layer-cam')), ALL,
                      prompt=ASKED)
    with open(path, 'rb') as file:
        answer = session.explain('a.png', file.read(),
                                 Question('layer', '', 0), lambda: None)
    (detector, ) = answer['photo']['detectors']
    assert {one['label'] for one in detector['objects']} <= set(PHRASES)
    assert len(detector['methods'][0]['words']) == 3


def test_a_language_model_that_is_nowhere(tmp_path):
    cfg = prompted_config('glip')
    name = str(tmp_path / 'bert')
    cfg.model.language_model.name = name
    with pytest.raises(OSError, match=(
            f"the language model '{name}' of .* is no folder here, and cannot "
            'be loaded from Hugging Face: give the folder that it is in, '
            '--cfg-options model.language_model.name=FOLDER '
            'model.bbox_head.lang_model_name=FOLDER')):
        build_detector(cfg)
