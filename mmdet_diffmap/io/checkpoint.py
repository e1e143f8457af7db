# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Reading checkpoints safely, and loading weights that fit."""
import hashlib
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import URLError

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log
from mmengine.utils import digit_version
from torch import nn

#: Since 2.6, torch.load reads only what is marked as safe, and takes marks by
#: the name that stands in the file.
READS_MARKED = digit_version(torch.__version__) >= digit_version('2.6')


#: Packages whose classes checkpoints hold; numpy's bytes need ``_codecs``.
HARMLESS = ('_codecs', 'collections', 'mmengine', 'numpy', 'torch')
#: In a file of torch's older kind: a number, a version, the system, the rest.
OLDER_PICKLES = 4


def history_method(owner: Any, name: str) -> Any:
    """Return what ``getattr`` may do in a training checkpoint: name a
    statistic of mmengine's ``HistoryBuffer``, and nothing else."""
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(
        f'the file asks for attribute {name!r} of {owner!r}')


def mark_safe_globals() -> None:
    """Let ``torch.load(weights_only=True)``, torch's default, read what
    mmengine's training checkpoints hold beside tensors: a message hub with
    numpy histories."""
    if not READS_MARKED:
        return
    rebuild: Any = np.zeros(1).__reduce__()[0]
    scalar: Any = np.float64(0).__reduce__()[0]
    dtypes = {type(np.dtype(code)) for code in '?bhilqBHILQefd'}
    torch.serialization.add_safe_globals([
        HistoryBuffer, np.ndarray, np.dtype, *dtypes,
        (history_method, 'builtins.getattr'),
        # the module's name in files of numpy 1 and numpy 2
        (rebuild, 'numpy.core.multiarray._reconstruct'),
        (rebuild, 'numpy._core.multiarray._reconstruct'),
        (scalar, 'numpy.core.multiarray.scalar'),
        (scalar, 'numpy._core.multiarray.scalar'),
    ])


def read_checkpoint(path: str) -> dict[str, Any]:
    """Read a checkpoint under torch's ``weights_only=True``.

    Args:
        path (str): A file, or an http(s) URL, which is downloaded once into
            torch's cache.

    Returns:
        dict: With the weights under ``state_dict``.

    Raises:
        OSError: If it cannot be found or downloaded.
        ValueError: If it is no checkpoint that can be read.
    """
    file = download(path) if is_url(path) else Path(path)
    if not file.is_file():
        raise FileNotFoundError(f'weights {path} do not exist')
    mark_safe_globals()  # again: mmengine's forks take marks back
    try:
        checkpoint = torch.load(file, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        if not READS_MARKED and is_training_checkpoint(file):
            raise ValueError(
                f'weights {path} hold more than tensors, which torch '
                f'{torch.__version__} cannot read safely: upgrade to torch '
                '2.6, or strip them with mmdet\'s '
                'tools/model_converters/publish_model.py') from error
        raise unreadable(path, file, error) from error
    except Exception as error:  # a damaged file fails in any way
        raise unreadable(path, file, error) from error
    if isinstance(checkpoint, dict) and 'state_dict' not in checkpoint:
        checkpoint = dict(state_dict=checkpoint)
    weights = isinstance(checkpoint, dict) and checkpoint['state_dict']
    if not isinstance(weights, dict) or not weights or not all(
            isinstance(name, str) for name in weights) or not any(
                isinstance(value, torch.Tensor)
                for value in weights.values()):
        raise ValueError(f'weights {path} hold no state_dict of tensors')
    return checkpoint


def unreadable(path: str, file: Path, error: Exception) -> ValueError:
    """Say what is wrong with a file that cannot be read. A downloaded one is
    removed, so that the next call fetches it anew."""
    functions = foreign_functions(file) \
        if isinstance(error, pickle.UnpicklingError) else []
    if is_url(path):
        file.unlink()
    if functions:
        return ValueError(
            f'weights {path} hold more than tensors: they ask for '
            f'{few(functions)}, which could run anything; nothing of it was '
            'run, and the file is refused')
    reason = first_line(error)
    if isinstance(error, pickle.UnpicklingError):
        reason = 'no tensors saved by torch.save'  # torch's own is a page
    return ValueError(f'weights {path} are truncated, or no PyTorch '
                      f'checkpoint: {reason}')


def is_training_checkpoint(file: Path) -> bool:
    """Whether an archive holds nothing foreign beside what a training of
    mmengine's writes: histories, and ``getattr`` for their statistics."""
    foreign = foreign_functions(file)
    if any(name.endswith('.HistoryBuffer') for name in named_functions(file)):
        foreign = [name for name in foreign if not name.endswith('.getattr')]
    return zipfile.is_zipfile(file) and not foreign


def foreign_functions(file: Path) -> list[str]:
    """List the functions and classes that a pickle asks for and that hold no
    tensors, without running it."""
    return [name for name in named_functions(file)
            if name.partition('.')[0] not in HARMLESS]


def named_functions(file: Path) -> list[str]:
    """List the functions and classes that a pickle asks for, without running
    it."""
    names: dict[str, None] = {}
    for content in pickles_in(file):
        texts: list[str] = []  # what a later opcode may take as a name
        try:
            for opcode, argument, _ in pickletools.genops(content):
                if opcode.name == 'GLOBAL':
                    names['.'.join(str(argument).split(' '))] = None
                elif opcode.name == 'STACK_GLOBAL':
                    names['.'.join(texts[-2:])] = None
                elif isinstance(argument, str):
                    texts.append(argument)
        except (ValueError, IndexError):  # no pickle, or a damaged one
            continue
    return list(names)


def pickles_in(file: Path) -> Iterator[bytes | BinaryIO]:
    """Yield the pickles of a checkpoint, whether it is an archive or a file
    of the older kind, which holds several."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.endswith('.pkl'):
                    yield archive.read(name)
        return
    with open(file, 'rb') as content:
        for _ in range(OLDER_PICKLES):
            yield content


def first_line(error: Exception) -> str:
    """Return what an error says, in one line."""
    return (str(error).splitlines() or [f'a failed {type(error).__name__}'])[0]


def is_url(path: str) -> bool:
    return path.startswith(('http://', 'https://'))


def place_in_cache(url: str) -> Path:
    """Return where the file of a URL lies once it is downloaded.

    A name that ends in a hash of the content, as in mmdet's zoo, is kept;
    another gets the URL's hash, since many files have the name
    ``epoch_12.pth``.
    """
    name = Path(url).name
    if not re.search(r'-[0-9a-f]{8}\.pth$', name):
        name = f'{hashlib.sha256(url.encode()).hexdigest()[:8]}-{name}'
    return Path(torch.hub.get_dir(), 'checkpoints', name)


def download(url: str) -> Path:
    """Return the file of a URL in torch's cache, downloaded if it is not
    there."""
    file = place_in_cache(url)
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(file))
        except (URLError, HTTPException) as error:
            raise OSError(
                f'{url} cannot be downloaded ({error}): get it on a machine '
                f'with a network and put it at {file}, or give its path'
            ) from error
    return file


def weights_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the weights in a checkpoint by their names in the model."""
    state: dict[str, Any] = checkpoint['state_dict']
    if all(name.startswith('module.') for name in state):  # saved under DDP
        state = {name[len('module.'):]: value for name, value in state.items()}
    return state


def load_weights(model: nn.Module, checkpoint: dict[str, Any],
                 path: str) -> None:
    """Load weights into a model, all of them.

    Args:
        model (nn.Module): The detector.
        checkpoint (dict): From :func:`read_checkpoint`.
        path (str): Its path, for messages.

    Raises:
        ValueError: If weights are missing or of another shape.
    """
    state = weights_of(checkpoint)
    try:
        result = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # its first line only names the class
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        raise ValueError(misfit(path, lines)) from error
    missing = [
        name for name in result.missing_keys
        if not name.endswith('num_batches_tracked')
    ]
    if missing:
        raise ValueError(
            misfit(path, [f'{len(missing)} missing'] + missing))
    if result.unexpected_keys:
        print_log(
            f'weights {path} hold {len(result.unexpected_keys)} tensors that '
            f'the config has no use for: {few(result.unexpected_keys)}',
            logger='current',
            level=30)


def misfit(path: str, details: list[str]) -> str:
    return f'weights {path} do not fit the config: {few(details)}'


def few(names: list[str], count: int = 4) -> str:
    """Return the first names, and that there are more."""
    return ', '.join(names[:count]) + (', …' if len(names) > count else '')
