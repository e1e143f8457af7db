# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Files, pictures and the terminal: reading and writing, whole or not at
all."""
