# `make demo` explains bundled scenes, `make test` checks everything. All
# first make a virtual environment in .venv.
PYTHON ?= python3
BIN = .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo check test test-all test-mmyolo lint docs env env-test env-docs \
	clean

demo: env
	$(BIN)/python tools/explain.py
	$(BIN)/python tools/explain.py scene://0/2 configs/demo/fcos_scenes.py \
		configs/demo/faster-rcnn_scenes.py configs/demo/detr_scenes.py \
		configs/demo/retinanet-pvt_scenes.py --object 0

# the average precision of the bundled detectors, against docs/usage.md
check: env
	$(BIN)/python tools/train_demo.py --check

# one thread a worker: torch's threads would fight for the cores
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 \
	--dist worksteal

test: env-test lint
	$(PYTEST)

# those that take long as well
test-all: env-test lint
	$(PYTEST) -m ''

# detectors of MMYOLO, which refuses the mmcv of the others; docs/mmyolo.md
test-mmyolo: .venv-mmyolo/installed
	OMP_NUM_THREADS=1 .venv-mmyolo/bin/python -m pytest tests/test_mmyolo.py

lint: env-test
	$(BIN)/ruff check .
	$(BIN)/mypy

# the pages in docs/_build/html; a warning is an error
docs: env-docs
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -c docs -d docs/_build/doctrees \
		-b html -W --keep-going -q . docs/_build/html
	@echo "docs/_build/html/index.html"

env: .venv/installed
env-test: .venv/installed-tests
env-docs: .venv/installed-docs

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python setup.py requirements.txt
	$(BIN)/pip install --quiet -r requirements.txt
	$(BIN)/pip install --quiet -e .
	touch $@

.venv/installed-tests: .venv/installed
	$(BIN)/pip install --quiet -e '.[tests]'
	touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/pip install --quiet -e '.[docs]'
	touch $@

.venv-mmyolo/installed: setup.py requirements.txt
	$(PYTHON) -m venv .venv-mmyolo
	.venv-mmyolo/bin/pip install --quiet mmyolo==0.6.0 mmdet==3.3.0 \
		mmcv-lite==2.0.1 pytest -e .
	touch $@

clean:
	rm -rf .venv .venv-mmyolo build *.egg-info docs/_build
