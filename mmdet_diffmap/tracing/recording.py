# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Who records gradients, and when: nobody else switches that."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def recording() -> Iterator[None]:
    """Record gradients in this context, also inside a caller's ``no_grad`` or
    ``inference_mode``."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


class Recorder:
    """Switches the recording of gradients in one run of a detector.

    The hooks of a run tell it how far the run has come; time goes to the
    right::

        module    backbone  target layer  neck ...  head    post-processing
        recorded  no        no            yes       yes/no  yes
        moment    1                     2           3       4              5

    1. :meth:`run` begins. Nothing before the target layer depends on its
       maps, which become leaves of the graph. A detector that runs without a
       target layer stays in this state.
    2. :meth:`target_layer_ran`.
    3. :meth:`head_needs_no_record`, of heads of which a part runs again when
       gradients are asked for; others are recorded.
    4. :meth:`raw_maps_cut`: the head's raw maps became leaves.
    5. :meth:`run` ends, also after an error: what the caller had is back.
    """

    @contextmanager
    def run(self) -> Iterator[Recorder]:
        """Record nothing in this context, until a moment asks for it."""
        with torch.inference_mode(False):
            before = torch.is_grad_enabled()
            torch.set_grad_enabled(False)
            try:
                yield self
            finally:
                torch.set_grad_enabled(before)

    def target_layer_ran(self) -> None:
        """Record what follows the target layer."""
        torch.set_grad_enabled(True)

    def head_needs_no_record(self) -> None:
        """Record nothing until the head's raw maps are cut off."""
        torch.set_grad_enabled(False)

    def raw_maps_cut(self) -> None:
        """Record what is made of the raw maps."""
        torch.set_grad_enabled(True)
