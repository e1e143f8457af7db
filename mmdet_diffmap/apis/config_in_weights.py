# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The config that a checkpoint carries, taken without running it."""
import ast
import os
from collections.abc import Iterator

from mmengine.config import Config

from ..checkpoint import first_line, read_checkpoint


def config_in_weights(weights: str | os.PathLike | None) -> Config:
    """The config that mmengine writes into the checkpoints of a training.

    Raises:
        OSError: If the checkpoint cannot be read or downloaded.
        ValueError: If there is none, or it is more than values.
    """
    if weights is None:
        raise ValueError('give the detector\'s config as model, or weights '
                         'that hold one')
    checkpoint = read_checkpoint(os.fspath(weights))
    hub = checkpoint.get('message_hub') or {}
    text = (hub.get('runtime_info') or {}).get('cfg') or \
        (checkpoint.get('meta') or {}).get('cfg')
    if not isinstance(text, str):
        raise ValueError(f'weights {weights} hold no config: give the '
                         'detector\'s as model')
    try:
        # mmengine runs a config as a program, and nobody has read this one
        if not all(map(only_values, ast.parse(text).body)):
            raise ValueError('it is a program, and only values are safe')
        cfg = Config.fromstring(text, file_format='.py')
    except Exception as error:  # as of any config
        raise ValueError(f'the config in weights {weights} cannot be used: '
                         f'{first_line(error)}; give the detector\'s as model'
                         ) from error
    if 'model' not in cfg:
        raise ValueError(f'the config in weights {weights} describes no '
                         'model: give the detector\'s as model')
    return cfg


def only_values(statement: ast.stmt) -> bool:
    """Whether a statement gives a name a value, made of literals and
    ``dict(...)``, as mmengine writes all configs."""
    return isinstance(statement, ast.Assign) and all(
        isinstance(one, ast.Name) for one in statement.targets) and all(
            value_parts(statement.value))


def value_parts(value: ast.expr) -> Iterator[bool]:
    """Whether each part of an expression is a literal or ``dict(...)``."""
    for node in ast.walk(value):
        if isinstance(node, ast.Call):
            yield isinstance(node.func, ast.Name) and node.func.id == 'dict'
        elif isinstance(node, ast.Name):
            yield node.id == 'dict'
        else:
            yield isinstance(
                node, (ast.Constant, ast.Dict, ast.List, ast.Tuple, ast.Set,
                       ast.UnaryOp, ast.USub, ast.keyword, ast.Load))
