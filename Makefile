# SPDX-License-Identifier: Apache-2.0
# `make demo` and `make test` do all their own set-up; a second run finds it done.

PYTHON_IN_VENV := .venv/bin/python
OUT ?= out
# More options for pytest, e.g. make test PYTEST="-k planner -x"
PYTEST ?=
# The tests run on as many processes as there are cores, at most four: each may hold a TensorFlow.
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); [ $$n -gt 4 ] && n=4; echo $$n)

.PHONY: help setup demo test pytest lint format bench nightly fuzz docs wheel clean

help:
	@echo "make demo     train LeNet, deploy it on the STM32F469, prove it on an emulator"
	@echo "make test     lint and every test that takes no hours"
	@echo "make nightly  the long tests too"
	@echo "make fuzz     ten minutes of fuzzing: model files, boards, frames (MINUTES=60 for more)"
	@echo "make docs     the documentation as a site in out/site"
	@echo "make lint     ruff and mypy"
	@echo "make bench    the table of figures beside the peers'"
	@echo "make setup    what the others do first: packages, virtual environment, CMSIS-NN"
	@echo "make wheel    the installable package in dist/"
	@echo "make clean    remove what was built; .venv and the caches stay"

setup: .venv/.ready

.venv/.ready: pyproject.toml scripts/setup.sh
	@scripts/setup.sh

demo: setup
	$(PYTHON_IN_VENV) examples/train_lenet.py $(OUT)/lenet
	.venv/bin/mcudeploy deploy $(OUT)/lenet/lenet.h5 --board stm32f469 \
	    --calibration $(OUT)/lenet/calibration.npz --evaluate $(OUT)/lenet/digits.npz \
	    -o $(OUT)/lenet/firmware

test: lint pytest

pytest: setup
	$(PYTHON_IN_VENV) -m pytest -n $(WORKERS) --dist worksteal $(PYTEST)

nightly: lint
	$(PYTHON_IN_VENV) -m pytest -n $(WORKERS) --dist worksteal --nightly $(PYTEST)

lint: setup
	$(PYTHON_IN_VENV) -m ruff check .
	$(PYTHON_IN_VENV) -m ruff format --check .
	$(PYTHON_IN_VENV) -m mypy

format: setup
	$(PYTHON_IN_VENV) -m ruff check --fix .
	$(PYTHON_IN_VENV) -m ruff format .

bench: setup
	$(PYTHON_IN_VENV) benchmarks/run.py

fuzz: setup
	fuzz/run.sh

docs: setup
	$(PYTHON_IN_VENV) -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(PYTHON_IN_VENV) -m mkdocs build --strict --site-dir $(OUT)/site

wheel: setup
	$(PYTHON_IN_VENV) -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(OUT) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -type d -prune -exec rm -rf {} +
