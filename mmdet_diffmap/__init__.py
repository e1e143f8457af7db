from .ops import install_standins

install_standins()
from . import datasets
