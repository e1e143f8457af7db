# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A detector of mmdet, run so that its detections can be explained: all that
knows the host's internals."""
