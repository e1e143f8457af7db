"""The bundled detector, loaded once for all tests of a process."""
from functools import lru_cache
from pathlib import Path

from mmdet_diffmap import load_detector

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/demo/fcos_scenes.py'
WEIGHTS = CONFIG.with_suffix('.pth')
SCENE = 'scene://0/2'


@lru_cache
def demo_detector():
    return load_detector(CONFIG, WEIGHTS, device='cpu')
