# The interface: `make demo` shows the main result, `make test` is what CI runs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := configs/coordinates/classification_quadrant_coordconv.yaml

.PHONY: demo test lint type format unit bench clean

demo: $(INSTALLED)  ## train CoordConv on the paper's headline experiment and print its result
	$(BIN)/lightning-coordconv fit -c $(DEMO)

test: lint type unit  ## everything that CI checks

lint: $(INSTALLED)
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --no-cache --check .

type: $(INSTALLED)
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

unit: $(INSTALLED)  ## the whole suite, slow tests included, a process and a thread per core
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto

bench: $(INSTALLED)  ## speed and memory of the layers
	$(BIN)/python -m benchmarks.layer

clean:
	rm -rf $(VENV) build dist logs

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
