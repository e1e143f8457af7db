# `make demo` explains bundled scenes, `make test` checks everything. All
# first make a virtual environment in VENV, with the host HOST (an extra of
# setup.py) and with what WITH names.
PYTHON ?= python3
VENV = .venv
HOST = lite
WITH =
BIN = $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo check test test-all test-onedl test-mmyolo try tested tested-all \
	tried lint docs env env-test env-docs clean

DETECTORS = configs/demo/fcos_scenes.py configs/demo/faster-rcnn_scenes.py \
	configs/demo/detr_scenes.py configs/demo/retinanet-pvt_scenes.py

demo: env
	$(BIN)/python tools/explain.py
	$(BIN)/python tools/explain.py scene://0/2 $(DETECTORS) --object 0

# the average precision of the bundled detectors, against docs/usage.md
check: env
	$(BIN)/python tools/train_demo.py --check

# one thread a worker: torch's threads would fight for the cores
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest
PARALLEL = -n auto --maxprocesses 8 --dist worksteal

test: lint tested

# those that take long as well
test-all: lint tested-all

# all tests beside the maintained forks of the host
test-onedl:
	$(MAKE) VENV=.venv-onedl HOST=onedl tested-all

tested: env-test
	$(PYTEST) $(PARALLEL)

tested-all: env-test
	$(PYTEST) $(PARALLEL) -m ''

# Another Python, torch or host, tried in an environment of its own:
# make try PYTHON=python3.10 HOST=onedl WITH='torch==2.4.1'
try:
	rm -rf .venv-try
	$(MAKE) VENV=.venv-try tried
	rm -rf .venv-try

QUICK = tests/maps tests/test_ops.py tests/io/test_checkpoint.py \
	tests/apis/test_loading.py tests/tracing/test_trace.py tests/tracing/heads

tried: demo
	$(BIN)/pip install --quiet hypothesis pytest
	$(BIN)/pip list | grep -iE '^(torch|numpy|.*mm(cv|det|engine))'
	$(BIN)/mmdet-diffmap doctor
	$(PYTEST) $(QUICK)

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

env: $(VENV)/installed
env-test: $(VENV)/installed-tests
env-docs: $(VENV)/installed-docs

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python setup.py requirements.txt
	@echo "torch, mmdet and the package go into $(VENV): minutes, and gigabytes"
	$(BIN)/pip install --quiet -e '.[$(HOST)]' $(WITH:%='%')
	touch $@

$(VENV)/installed-tests: $(VENV)/installed
	$(BIN)/pip install --quiet -e '.[tests]'
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/pip install --quiet -e '.[docs]'
	touch $@

.venv-mmyolo/installed: setup.py requirements.txt
	$(PYTHON) -m venv .venv-mmyolo
	.venv-mmyolo/bin/pip install --quiet -e '.[lite]' mmyolo==0.6.0 \
		mmcv-lite==2.0.1 pytest
	touch $@

clean:
	rm -rf .venv .venv-onedl .venv-mmyolo .venv-try build *.egg-info docs/_build
