# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A small language model with random weights, in the place of the one that a
text-prompted detector would download."""
from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ...io.configs import inner_dicts

CHANNELS = 32
#: What mmdet's early fusion takes, whatever a language model gives.
FUSED_CHANNELS = 768
#: What is asked of small detectors.
PROMPT = 'a red car . a dog'
SPECIAL = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]')
WORDS = (
    *('a', 'the', 'of', 'in', 'on', 'and', 'with', 'to', 'at', 'left'),
    *('right', 'red', 'blue', 'green', 'black', 'white', 'small', 'large'),
    *('old', 'man', 'woman', 'child', 'person', 'car', 'bus', 'truck'),
    *('bicycle', 'dog', 'cat', 'bird', 'horse', 'boat', 'chair', 'table'),
    *('cup', 'traffic', 'light', 'two'))
#: Every word has a token: letters that follow others, and that begin.
LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789'


def write_small_bert(folder: str | os.PathLike,
                     channels: int = CHANNELS) -> str:
    """Write a BERT of two layers with random weights, the same at every call,
    and a vocabulary of a few dozen words: others are spelled.

    Args:
        folder (str | PathLike): Is made; ``from_pretrained`` of transformers
            reads it.
        channels (int): Of the text's features.

    Returns:
        str: The folder.

    Raises:
        ImportError: If transformers is not installed.
    """
    from transformers import BertConfig, BertModel, BertTokenizerFast
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [*SPECIAL, *'.,?!/\'-', *WORDS,
                  *(letter for letter in LETTERS if letter not in WORDS),
                  *(f'##{letter}' for letter in LETTERS)]
    file = folder / 'vocab.txt'
    file.write_text('\n'.join(vocabulary) + '\n')
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertModel(BertConfig(
            vocab_size=len(vocabulary), hidden_size=channels,
            num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=2 * channels, max_position_embeddings=256))
        for parameter in model.parameters():
            if parameter.dim() > 1:  # words differ as trained ones do
                torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    BertTokenizerFast(str(file)).save_pretrained(folder)
    return str(folder)


@lru_cache
def small_bert(channels: int = CHANNELS) -> str:
    """Return a folder of :func:`write_small_bert` that is there as long as the
    program runs."""
    folder = tempfile.mkdtemp(prefix='small_bert_')
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return write_small_bert(folder, channels)


def channels_for(model: Any) -> int:
    """Return how many channels the config of a detector takes."""
    return FUSED_CHANNELS if any(
        part.get('early_fuse') for part in inner_dicts(model)) else CHANNELS


def use_small_bert(model: Mapping[str, Any],
                   folder: str | os.PathLike) -> None:
    """Let the config of a text-prompted detector take its language model from
    a folder, in place; a config without one is left as it is.

    Args:
        model (Mapping): The config of the detector.
        folder (str | PathLike): Of :func:`write_small_bert`.
    """
    if 'language_model' not in model:
        return
    model['language_model']['name'] = str(folder)
    for part in inner_dicts(model):
        if 'lang_model_name' in part:
            part['lang_model_name'] = str(folder)
