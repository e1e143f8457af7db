# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..maps.heatmaps import GridMaps, image_heatmaps
from ..registry import EXPLAINERS
from ..tracing.named_outputs import Meaning
from ..tracing.trace import Trace

#: The name of the map in which all outputs are joined.
JOINT = 'all'


#: What a map shows: what raises an output, what lowers it, or both, with a
#: sign.
EVIDENCE = ('for', 'against', 'both')


@dataclass(frozen=True)
class Evidence:
    """What speaks for the outputs of N detections, and what against them.

    Args:
        maps (Tensor): Signed maps of the original image's size, in [-1, 1],
            shape (N, H, W): above zero what speaks for it.
        speak_for, speak_against (Sequence[GridMaps]): What they are made of,
            on the detector's grids.
    """
    maps: Tensor
    speak_for: Sequence[GridMaps]
    speak_against: Sequence[GridMaps]


@dataclass(frozen=True)
class Maps:
    """What a method makes of N detections.

    Args:
        heatmaps (Tensor): Heat maps of the original image's size, in [0, 1],
            shape (N, H, W).
        grids (Mapping): What they are made of on the detector's grids, by
            output: all outputs joined under the name :data:`JOINT`, and each
            alone where there are several. Empty if that was not asked for, and
            of methods that make no maps on grids.
        evidence (Evidence, optional): Signed maps, of methods that were asked
            for both sides.
        meanings (Sequence[Meaning]): What each signed map says, in words.
    """
    heatmaps: Tensor
    grids: Mapping[str, Sequence[GridMaps]] = field(default_factory=dict)
    evidence: Evidence | None = None
    meanings: Sequence[Meaning] = ()


class Explainer(ABC):
    """A method that makes one map for each detection of an image.

    An explainer knows nothing of detectors: all that it sees is a
    :class:`~mmdet_diffmap.tracing.trace.Trace`.

    Args:
        half (bool): Maps in float16, for half of their memory.
    """
    #: The name of the method; None for one that follows from the class's. It
    #: is not inherited: a subclass is another method.
    name: ClassVar[str | None] = None
    #: The module whose feature maps are explained; None if the method needs
    #: no gradients, and so can explain any detector.
    target_layer: str | None = None
    #: Names of what is explained; see :class:`GradientExplainer`.
    outputs: tuple[str, ...] = ('score', )
    #: One of :data:`EVIDENCE`: which sides the method tells.
    evidence: str = 'for'
    #: How gradients treat GroupNorm layers; see :class:`GradientExplainer`.
    statistics = 'exact'

    def __init__(self, half: bool = False) -> None:
        self.half = half

    @abstractmethod
    def __call__(self, trace: Trace) -> Tensor:
        """Explain all detections of a trace.

        Returns:
            Tensor: Shape (N, H, W), of the original image's size: heat maps
            in [0, 1], or signed maps in [-1, 1].
        """

    def maps(self, trace: Trace, by_output: bool = False) -> Maps:
        """Explain all detections of a trace, and keep what the maps are made
        of.

        Args:
            trace (Trace): The detections.
            by_output (bool): Whether to keep the maps of each output on the
                detector's grids.
        """
        return Maps(self(trace))

    def weigh(self, trace: Trace) -> Evidence | None:
        """Tell what speaks for, and what against, the score of each detection
        of a trace; None of a method that only tells what speaks for it."""
        return None

    def working_memory(self, trace: Trace) -> int:
        """Bytes that the method needs at one time beside the maps of a few
        detections, if that is much."""
        return 0

    def image_heatmaps(self, maps: Sequence[GridMaps],
                       trace: Trace) -> Tensor:
        """Make heat maps from maps on grids, in full precision whatever the
        caller's context; see
        :func:`~mmdet_diffmap.maps.heatmaps.image_heatmaps`."""
        device = trace.outputs.device
        # boxes may be in another precision than features
        dtype = maps[0].values.dtype if maps else trace.outputs.dtype
        with torch.autocast(device.type, enabled=False):
            return image_heatmaps(maps, len(trace), trace.frame, device,
                                  torch.float16 if self.half else dtype)


ExplainerLike = Explainer | dict[str, Any] | str


def build_explainer(explainer: ExplainerLike, **options: Any) -> Explainer:
    """Build an explainer from its config, or from its name alone.

    Args:
        explainer (Explainer | dict | str): An explainer, which is returned;
            a config such as ``dict(type='ODAM', extents=True)``; or a type's
            name, in which case, ``-`` and ``_`` do not count, and ``++`` is
            ``PlusPlus``. ``NAME-diff`` is the difference map of ``NAME``.
        **options: Override those of the config.

    Raises:
        ValueError: If there is no such explainer, or not with such options.
    """
    if isinstance(explainer, Explainer):
        if options:
            raise ValueError(f'{type(explainer).__name__} is built already '
                             f'and cannot take {", ".join(options)}')
        return explainer
    config = dict(explainer_config(explainer), **options)
    try:
        # whatever the default scope is: other packages have no such registry
        return EXPLAINERS.build(dict(config, _scope_=EXPLAINERS.scope))
    except TypeError as error:
        raise ValueError(f'explainer {config} cannot be built: '
                         f'{error}') from error


def build_explainers(explainers: Mapping[str, dict[str, Any] | str],
                     **options: Any) -> dict[str, Explainer]:
    """Build several explainers. An option goes to each that has it.

    Args:
        explainers (Mapping): Configs or names; see :func:`build_explainer`.
        **options: Override those of the configs.

    Raises:
        ValueError: As :func:`build_explainer`, or if none has an option.
    """
    configs = {
        name: explainer_config(explainer)
        for name, explainer in explainers.items()
    }
    taken = {name: option_names(config) for name, config in configs.items()}
    for option in options:
        if not any(option in names for names in taken.values()):
            raise ValueError(f'{" and ".join(explainers)} cannot be built '
                             f'with {option}: there is no such option')
    return {
        name: build_explainer(
            config, **{k: v for k, v in options.items() if k in taken[name]})
        for name, config in configs.items()
    }


def as_config(explainer: Explainer) -> dict[str, Any]:
    """Return a method as a config with all its options."""
    options = {
        name: as_config(value) if isinstance(value, Explainer) else value
        for name, value in vars(explainer).items() if name != 'progress'
    }
    return dict(type=type(explainer).__name__, **options)


def method_text(explainer: Explainer) -> str:
    """Write a method as in Python, with those of its options that are not the
    defaults.

    Example:
        >>> from mmdet_diffmap.explainers import ODAM
        >>> method_text(ODAM(extents=True))
        'ODAM(extents=True)'
    """
    kind = type(explainer)
    try:
        defaults = vars(kind())
    except TypeError:  # of a class of one's own that needs an argument
        defaults = {}
    texts = {
        name: method_text(value) if isinstance(value, Explainer)
        else repr(value)
        for name, value in vars(explainer).items()
        if name in own_option_names(kind) - {'progress'} and
        (isinstance(value, Explainer) or name not in defaults or
         value != defaults[name])
    }
    return kind.__name__ + '(' + ', '.join(
        f'{name}={text}' for name, text in texts.items()) + ')'


def option_names(config: dict[str, Any]) -> set[str]:
    """Return the options that an explainer takes, or passes on to another."""
    kind: Any = config['type']
    if isinstance(kind, str):
        kind = EXPLAINERS.get(kind)
    names = own_option_names(kind)
    if 'explainer' in names:
        inner = config.get('explainer', 'ODAM')
        names |= option_names(explainer_config(inner))
    return names


def own_option_names(kind: Any) -> set[str]:
    """Return the options that a class of explainers takes itself."""
    return {
        name
        for base in kind.__mro__
        for name in signature(base.__init__).parameters
    }


def explainer_config(explainer: dict[str, Any] | str) -> dict[str, Any]:
    """Return the config of an explainer, with the type's own name.

    Raises:
        ValueError: If there is no such type.
    """
    if isinstance(explainer, str):
        explainer = dict(type=explainer)
    if 'type' not in explainer:
        raise ValueError(f'explainer {explainer} has no type; there are '
                         f'{", ".join(registered_explainers())}')
    if not isinstance(explainer['type'], str):
        return dict(explainer)
    return dict(explainer, **resolve(explainer['type'], explainer))


def resolve(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Find what an explainer's name stands for, in a config."""
    EXPLAINERS.import_from_location()
    types = {
        plain: kind for kind, built in EXPLAINERS.module_dict.items()
        for plain in (plain_name(kind), plain_name(method_name(built)))
    }
    plain = plain_name(name)
    if plain in types:
        return dict(type=types[plain])
    if plain.removesuffix('diff') in types and 'explainer' not in config:
        return dict(
            type='DifferenceMap', explainer=types[plain.removesuffix('diff')])
    raise ValueError(f'unknown explainer {name!r}; there are '
                     f'{", ".join(registered_explainers())}, and NAME-diff')


def registered_explainers() -> list[str]:
    """Return the names of all explainers, in alphabetic order."""
    EXPLAINERS.import_from_location()
    return sorted(map(method_name, EXPLAINERS.module_dict.values()))


def method_name(kind: type[Explainer]) -> str:
    """Return the name of a method: that of its class in lower case, with
    hyphens between its words, unless the class says another.

    Example:
        >>> from mmdet_diffmap.explainers import DRISE, GradCAMPlusPlus
        >>> method_name(GradCAMPlusPlus), method_name(DRISE)
        ('grad-cam++', 'd-rise')
    """
    own_name: str | None = vars(kind).get('name')
    if own_name is not None:
        return own_name
    words = re.sub('(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])', '-',
                   kind.__name__)
    return words.lower().replace('-plus-plus', '++')


def plain_name(name: str) -> str:
    """Return a name in the spelling in which names are compared."""
    for char, plain in ('-', ''), ('_', ''), ('+', 'plus'):
        name = name.replace(char, plain)
    return name.lower()
