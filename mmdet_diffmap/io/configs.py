# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The config that a checkpoint carries, taken without running it.

mmengine runs such a text as a program, and then builds whatever its types
name. Nobody has read this one: it is parsed here, and its types must be names
of registries.
"""
import ast
import os
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from .checkpoint import first_line, read_checkpoint

#: The packages whose registries a type may name, as in ``mmdet.FCOS``.
SCOPES = ('mmcv', 'mmdet', 'mmdet_diffmap', 'mmengine', 'mmpretrain', 'mmyolo')


def config_in_weights(weights: str | os.PathLike | None) -> Config:
    """Return the config that mmengine writes into the checkpoints of a
    training.

    Its ``custom_imports`` are not imported.

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
        values = values_in(text)
        check_types(values)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f'the config in weights {weights} cannot be used: '
                         f'{first_line(error)}; give the detector\'s as model'
                         ) from error
    if 'model' not in values:
        raise ValueError(f'the config in weights {weights} describes no '
                         'model: give the detector\'s as model')
    return Config(values, cfg_text=text, filename=f'in weights {weights}')


def inner_dicts(value: Any) -> Iterator[Any]:
    """Yield all dicts inside a config's value, from the outermost on."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from inner_dicts(part)


def values_in(text: str) -> dict[str, Any]:
    """Return the values of a program that does nothing but give names values,
    made of literals and ``dict(...)``, as mmengine writes all configs.

    Raises:
        SyntaxError: If it is no program.
        ValueError: If it does anything else.
    """
    values: dict[str, Any] = {}
    for statement in ast.parse(text).body:
        if not isinstance(statement, ast.Assign) or len(
                statement.targets) != 1 or not isinstance(
                    statement.targets[0], ast.Name):
            raise ValueError('it is a program, and only values are safe')
        try:
            value = ast.literal_eval(DictCalls().visit(statement.value))
        except ValueError as error:
            raise ValueError(
                'it is a program, and only values are safe') from error
        values[statement.targets[0].id] = value
    if '_base_' in values:
        raise ValueError('it reads other files')
    return values


class DictCalls(ast.NodeTransformer):
    """Makes ``dict(a=1)`` the literal ``{'a': 1}``."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        names = [keyword.arg for keyword in node.keywords]
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict' \
                or node.args or None in names:
            return node
        return ast.Dict([ast.Constant(name) for name in names],
                        [keyword.value for keyword in node.keywords])


def check_types(values: dict[str, Any]) -> None:
    """Raise a ValueError unless all types are names of registries: mmengine
    takes any other, such as ``os.system``, from the module that it names."""
    for part in inner_dicts(values):
        kind = part.get('type', '')
        *scope, _ = str(kind).split('.')
        if scope and (len(scope) > 1 or scope[0] not in SCOPES):
            raise ValueError(f'its type {kind} is no name of a registry')
