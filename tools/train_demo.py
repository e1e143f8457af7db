# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Train a demo detector on the synthetic scenes and publish its weights, or"""
import sys
import warnings

warnings.simplefilter('ignore')  # of the host's packages about each other

from mmdet_diffmap.cli.train_demo import main

if __name__ == '__main__':
    sys.exit(main())
