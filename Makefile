# `make help` lists the targets. Times are for two idle cores; the first use of an environment adds 3 minutes or more,
# for a download of some GB.
PYTHON ?= python3
VENV ?= .venv
VENV_OLDEST ?= .venv-oldest
VENV_FOREIGN ?= .venv-foreign
# An additional index with builds of torch without CUDA; empty installs the builds of pip's default index
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
BIN := $(VENV)/bin
WHEEL := build/wheel
DEMO := configs/coordinates/classification_quadrant_coordconv.yaml
PIP := bin/pip --quiet --disable-pip-version-check install

# Tests that run with the lowest admitted versions, and of the wheel: the layers with export and compile, a fit of each domain
FITS := coordinates/classification_quadrant_coordconv classification/digits_coordconv detection/coco_coordconv \
  generative/small_coordconv rl/ppo_pong_coordconv segmentation/masks_coordconv
CORE_TESTS := tests/layers $(foreach fit,$(FITS),'tests/test_configs.py::test_config_runs[$(fit)]')

WHEEL_TESTS := tests/core/test_shipped.py tests/benchmarks/test_weights.py::test_the_files_reach_their_results

# The site runs networks in the browser by onnxruntime-web, which is served with it: package, sha512 and the files used
RUNTIME := onnxruntime-web-1.30.0
RUNTIME_SHA512 := ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61
RUNTIME_FILES := ort.wasm.bundle.min.mjs ort-wasm-simd-threaded.wasm

.PHONY: help demo check test test-oldest test-wheel foreign lint type fast unit format bench docs docs-test clean

help:  ## print this list (at once)
	@awk -F ':.*##' '/^[a-z-]+:.*##/ {printf "make %-12s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## train CoordConv on the paper's headline experiment and print its result (1 minute)
	$(BIN)/lightning-coordconv fit -c $(DEMO)

check: lint type fast  ## lint, types and the fast tests, for use while editing (2 minutes)

test: lint type unit  ## lint, types and all tests (25 minutes)

test-oldest: $(VENV_OLDEST)/.installed  ## layers, export, compile and a fit of each domain, lowest admitted versions (5 minutes)
# Old releases use names that the newest releases of their dependencies deprecate
	OMP_NUM_THREADS=1 $(VENV_OLDEST)/bin/pytest --numprocesses auto -W default::DeprecationWarning $(CORE_TESTS)

test-wheel:  ## try the wheel of dist/ with PYTHON in an empty environment: commands, fits, weights, layers (15 minutes)
	rm -rf $(WHEEL) && mkdir -p $(WHEEL)
	cp -r tests benchmarks pyproject.toml $(WHEEL)
	$(PYTHON) -m venv $(WHEEL)/environment
	$(WHEEL)/environment/$(PIP) dist/*.whl
	cd $(WHEEL) && environment/bin/lightning-coordconv --help && environment/bin/lightning-coordconv configs list
	cd $(WHEEL) && environment/bin/python -c '$(foreach domain,$(filter-out rl/,$(dir $(FITS))),import lightning_coordconv.$(domain:/=);)'
	$(WHEEL)/environment/$(PIP) "$$(echo dist/*.whl)[dev]"
	cd $(WHEEL) && OMP_NUM_THREADS=1 environment/bin/pytest $(WHEEL_TESTS) $(CORE_TESTS)

foreign: $(VENV_FOREIGN)/.installed  ## convert models of other libraries, write docs/compatibility.md (150 minutes or more; continues)
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(VENV_FOREIGN)/bin/python -W ignore -m benchmarks.foreign

lint: $(VENV)/.installed-dev  ## ruff: rules and format (seconds)
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --no-cache --check .

type: $(VENV)/.installed-dev  ## mypy, strict (half a minute; seconds with its cache)
	$(BIN)/mypy

fast: $(VENV)/.installed-dev  ## the tests that are not marked slow (2 minutes)
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto -m 'not slow'

unit: $(VENV)/.installed-dev  ## all tests, a process for each core (25 minutes)
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto

format: $(VENV)/.installed-dev  ## apply ruff's fixes and format (seconds)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev  ## speed and memory of the layers (minutes)
	$(BIN)/python -m benchmarks.layer

docs: $(VENV)/.installed-docs build/onnxruntime-web  ## run the notebooks and build the site in build/site (3 minutes; needs npm once)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

docs-test: docs $(VENV)/.installed-dev  ## test the site in headless Chromium (1 minute)
	$(BIN)/pytest tests/docs

clean:  ## remove the environments, builds and logs (seconds)
	rm -rf $(VENV) $(VENV_OLDEST) $(VENV_FOREIGN) build dist logs

# Each environment has a stamp for what is installed in it; development tools include what the demo needs.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/$(PIP) --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/$(PIP) --constraint constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/$(PIP) --constraint constraints.txt --editable '.[docs]'
	touch $@ $(VENV)/.installed

$(VENV_OLDEST)/.installed: pyproject.toml constraints-oldest.txt
	test -x $(VENV_OLDEST)/bin/python || $(PYTHON) -m venv $(VENV_OLDEST)
	$(VENV_OLDEST)/$(PIP) --constraint constraints-oldest.txt --editable '.[dev]'
	touch $@

$(VENV_FOREIGN)/.installed: pyproject.toml constraints.txt benchmarks/foreign/requirements.txt
	test -x $(VENV_FOREIGN)/bin/python || $(PYTHON) -m venv $(VENV_FOREIGN)
	$(VENV_FOREIGN)/$(PIP) --constraint constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
	  --requirement benchmarks/foreign/requirements.txt --editable '.[export]'
	touch $@

build/onnxruntime-web: Makefile
	mkdir -p build
	cd build && npm pack --silent $(subst web-,web@,$(RUNTIME))
	echo '$(RUNTIME_SHA512)  build/$(RUNTIME).tgz' | sha512sum --check --quiet
	rm -rf $@ && mkdir $@
	tar -xzf build/$(RUNTIME).tgz -C $@ --strip-components 2 $(addprefix package/dist/,$(RUNTIME_FILES))
	touch $@
