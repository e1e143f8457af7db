# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Train a demo detector on the synthetic scenes and publish its weights, or"""
import sys

from mmdet_diffmap.cli.train_demo import main

if __name__ == '__main__':
    sys.exit(main())
