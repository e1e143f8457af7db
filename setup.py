# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


#: What belongs to mmdet 3.3.0 and not to its forks.
HOST = ('mmdet', 'mmengine', 'mmcv-lite', 'setuptools')


def read_requirements() -> tuple[list[str], list[str]]:
    """Return the lines of requirements.txt: those every installation has, and
    the host, which is an extra, since another one can take its place."""
    lines = (ROOT / 'requirements.txt').read_text().splitlines()
    names = [line.partition('#')[0].strip() for line in lines]
    host = [name for name in names if name.startswith(HOST)]
    return [name for name in names if name and name not in host], host


def read_version() -> str:
    text = (ROOT / 'mmdet_diffmap/version.py').read_text()
    return re.search(r"__version__ = '(.+)'", text)[1]


REQUIRED, LITE = read_requirements()
#: The forks of the host that are maintained. Their mmcv is built by pip: in
#: isolation, where there is no torch, it leaves its compiled ops out.
ONEDL = [
    'onedl-mmdetection>=3.5.1', 'onedl-mmengine>=0.10.12',
    'onedl-mmcv>=2.3.6'
]
#: For `mmdet-diffmap serve`.
SERVE = ['starlette>=0.40', 'uvicorn>=0.30']
#: For text-prompted detectors. mmdet 3.3.0 takes parts of BERT that later
#: versions have changed: GLIP with early fusion fails from 4.53 on, and all of
#: them with 5.
TEXT = ['transformers>=4.40,<4.53']
#: What mmdet's trackers import.
TRACKING = ['lapx>=0.5.9', 'motmetrics>=1.4']

setup(
    name='mmdet_diffmap',
    version=read_version(),
    description='Explanations of object detections for MMDetection: heat '
    'maps of every object, and difference maps between them',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmdet_diffmap', 'mmdet_diffmap.*']),
    package_data={
        'mmdet_diffmap': [
            'py.typed', 'report/*.html', 'report/*.css', 'report/*.js',
            '.mim/configs/*/*', '.mim/tools/*'
        ]
    },
    entry_points={
        'console_scripts': ['mmdet-diffmap = mmdet_diffmap.__main__:main']
    },
    python_requires='>=3.10',
    install_requires=REQUIRED,
    extras_require={
        'lite': LITE,
        'onedl': ONEDL,
        'serve': SERVE,
        'text': TEXT,
        'tracking': TRACKING,
        'docs': [
            'furo>=2024.8', 'myst-nb>=1.2', 'myst-parser>=4.0', 'sphinx>=8.1',
            'sphinx-copybutton>=0.5.2'
        ],
        'tests': [
            'axe-playwright-python>=0.1.8',
            # 1.5.7 puts a headless OpenCV over the one that mmcv wants
            'grad-cam>=1.5.5,<1.5.7',
            'colour-science>=0.4.6', 'hypothesis>=6.100', 'mypy>=1.10',
            'playwright>=1.45', 'pypdfium2>=4.30', 'pytest>=8.0',
            'pytest-xdist>=3.5', 'ruff>=0.6', 'tensorboard>=2.14',
            'types-psutil', *SERVE, *TEXT, *TRACKING
        ],
    },
    classifiers=[
        'License :: OSI Approved :: Apache Software License',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ])
