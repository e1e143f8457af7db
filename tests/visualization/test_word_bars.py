"""Bars of words, in a figure."""
import pytest
import torch

from mmdet_diffmap.tracing.word_scores import WordScores, words_of
from mmdet_diffmap.visualization.colours import colour_table
from mmdet_diffmap.visualization.drawing import Drawing, Picture, Text
from mmdet_diffmap.visualization.word_bars import BAR, add_word_bars


def scores_of(caption, values):
    return WordScores(caption, words_of(caption), torch.tensor(values), 0.0,
                      'score')


def drawn(words, width=400):
    drawing = Drawing(width + 20, 30)
    add_word_bars(drawing, words, 10, width)
    texts = [item.words for item in drawing.items if isinstance(item, Text)]
    bars = [item for item in drawing.items if isinstance(item, Picture)
            and item.area[3] - item.area[1] > 1]
    lines = [item for item in drawing.items if isinstance(item, Picture)
             and item.area[3] - item.area[1] == 1]
    return drawing, texts, bars, lines


def test_bars_are_as_long_as_values():
    _, texts, bars, lines = drawn(scores_of('a red-hot car.',
                                            [.05, -.2, .1, 0.]))
    assert texts == ['words, for and against its score; 1 is 0.2',
                     'a', '+0.25', 'red-hot', '−1.00', 'car', '+0.50',
                     '.', '+0.00']
    heights = [bar.area[3] - bar.area[1] for bar in bars]
    assert heights == [round(.25 * BAR), BAR, BAR / 2]  # none for zero
    zero = lines[0].area[1]
    assert [bar.area[1] < zero for bar in bars] == [True, False, True]
    above, below = (bars[i].pixels[0, 0].tolist() for i in (0, 1))
    table = colour_table(True).astype(int)

    def side(colour):
        apart = (abs(table - colour)).sum(axis=1)
        return apart[:100].min() < apart[-100:].min()

    assert not side(above) and side(below)


def test_long_texts_are_divided_and_keep_inside():
    words = scores_of(' '.join(['word'] * 30), [1.] * 30)
    drawing, _, bars, lines = drawn(words, 200)
    assert len(bars) == 30
    assert max(bar.area[2] for bar in bars) <= 210
    assert len({line.area[1] for line in lines}) > 3
    assert drawing.height >= max(line.area[3] for line in lines) + BAR
    assert drawing.pixels().shape == (drawing.height, 220, 3)


@pytest.mark.parametrize('words', [scores_of('a dog', [0., 0.]),
                                   scores_of('', [])])
def test_nothing_counts(words):
    _, texts, bars, _ = drawn(words)
    assert not bars and '1 is 0' in texts[0]
