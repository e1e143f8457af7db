# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""All that the package registers with the host, and what users call.

Stand-ins for mmcv's ops come first: whatever imports mmdet needs them.
"""
from .host import mend_grounding_dino, mend_host
from .io.remarks import (
    import_without_remarks,
    leave_out_remarks,
    use_up_remarks,
)

leave_out_remarks()
use_up_remarks()

from .ops import install_standins  # noqa: E402

install_standins()
mend_host()
import_without_remarks()
mend_grounding_dino()

from .io.checkpoint import mark_safe_globals  # noqa: E402

mark_safe_globals()

from . import (  # noqa: E402
    datasets,
    errors,
    evaluation,
    explainers,
    hooks,
)
from .apis import (  # noqa: E402
    DiffMapInferencer,
    Prompt,
    explain,
    explain_pair,
    explain_phrases,
    explain_video,
    load_detector,
)
from .maps.difference import difference_map  # noqa: E402
from .maps.separation import separation_map  # noqa: E402

__all__ = [
    'DiffMapInferencer', 'Prompt', 'datasets', 'difference_map', 'errors',
    'evaluation', 'explain', 'explain_pair', 'explain_phrases',
    'explain_video', 'explainers', 'hooks', 'load_detector', 'separation_map'
]
