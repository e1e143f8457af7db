# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What methods are called in papers."""
from .explainer import plain_name

#: The name of each method of the package, as its authors write it.
PAPER_NAMES = {
    'odam': 'ODAM',
    'grad-cam': 'Grad-CAM',
    'grad-cam++': 'Grad-CAM++',
    'ss-grad-cam': 'SSGrad-CAM',
    'ss-grad-cam++': 'SSGrad-CAM++',
    'd-rise': 'D-RISE',
    'layer-cam': 'LayerCAM',
    'hires-cam': 'HiResCAM',
    'xgrad-cam': 'XGrad-CAM',
    'eigen-cam': 'Eigen-CAM',
    'eigen-grad-cam': 'EigenGrad-CAM',
    'ablation-cam': 'Ablation-CAM',
    'difference-map': 'ODAM + Diff',
}


def paper_name(name: str) -> str:
    """Return what a method is called in the paper, and in those of other
    methods. A name of one's own stays as it is.

    Args:
        name (str): As :func:`~mmdet_diffmap.explainers.build_explainer` takes
            it.

    >>> paper_name('ss-grad-cam++'), paper_name('odam-diff')
    ('SSGrad-CAM++', 'ODAM + Diff')
    >>> paper_name('my-cam-diff')
    'my-cam-diff'
    """
    names = {plain_name(key): title for key, title in PAPER_NAMES.items()}
    plain = plain_name(name)
    if plain in names:
        return names[plain]
    base = names.get(plain.removesuffix('diff'))
    return f'{base} + Diff' if base else name
