# Two commands do everything on a fresh machine: `make lab` opens the course, `make test` proves it.

# The first of these that runs and is 3.11 to 3.13 makes the .venv; PYTHON=... overrides.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PORT   ?= 8888
BROWSER ?=
JOBS   ?= 2
ONE    := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
NBVAL  := --nbval --nbval-sanitize-with tests/nbval_sanitize.cfg --nbval-cell-timeout 300 \
	--nbval-kernel-startup-timeout 180

.DEFAULT_GOAL := help

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

# A half-made .venv has no pip and is made anew. The last line builds matplotlib's font cache once, so that no
# notebook prints a message about it.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 to 3.13 was found; install one, or say PYTHON=/path/to/python3.12"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
		{ echo "make: $(PYTHON) could not make $(VENV); on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(BIN)/python -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"make: $(VENV) has Python {v[0]}.{v[1]}, 3.11 to 3.13 is needed: make clean, then again with PYTHON=python3.12")'
	@echo "make: installing into $(VENV) (once; some minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@$(BIN)/python -c 'import matplotlib.font_manager' 2>/dev/null
	@touch $(READY)

setup: $(READY) ## make .venv and install everything (the other commands do it when needed)

lab: $(READY) ## open the course in JupyterLab (PORT=8888, BROWSER=none to print the link only)
	@$(BIN)/python -m valuelab lab --port $(PORT) $(if $(BROWSER),--browser "$(BROWSER)")

test: $(READY) ## run every test and every notebook
	$(ONE) $(BIN)/python -m pytest -n $(JOBS) --dist loadscope $(NBVAL) --ignore=tests/browser --ignore=tests/grading \
		tests solutions notebooks

browser: $(READY) ## drive the course in JupyterLab with a headless Chromium (skipped where there is none)
	$(ONE) $(BIN)/python -m pytest -rs tests/browser

grade: $(READY) ## take every lesson through nbgrader: nothing, wrong, a part, all answered (LESSON=03 for one)
	$(ONE) $(BIN)/python -m pytest -n $(JOBS) --dist load tests/grading $(if $(LESSON),--lesson $(LESSON))

tracks: $(READY) ## run the workshop's tracks without a browser, against their budget of machine time
	@$(BIN)/python -m valuelab.course.tracks

course: $(READY) ## run every solved lesson and write the report card
	@$(BIN)/python -m valuelab course

build: $(READY) ## build all notebooks from their sources
	$(BIN)/python -m valuelab.course.build

site: $(READY) ## write build/site, the executed lessons as pages to read
	@$(BIN)/python -m valuelab.course.site

kit: $(READY) ## write build/kit, everything to set the course up where there is no network
	@$(BIN)/python -m valuelab.course.kit

model: $(READY) ## write the planted corpus and train the embedded model again, from its seed
	$(BIN)/python -m valuelab.world.train --out lib/valuelab/world/model
	$(BIN)/python benchmarks/world.py

# uv alone can resolve to the lowest versions that pyproject.toml promises
floors: ## every test and notebook with the oldest libraries promised, in build/floors (downloads some GB)
	$(PYTHON) -m venv build/floors
	build/floors/bin/python -m pip install --quiet uv
	build/floors/bin/uv pip install --quiet --python build/floors/bin/python --resolution lowest-direct --editable '.[dev]'
	$(ONE) build/floors/bin/python -m pytest -n $(JOBS) --dist loadscope $(NBVAL) --ignore=tests/browser --ignore=tests/grading \
		--deselect tests/test_repository.py::test_what_is_tested_is_what_is_pinned tests solutions notebooks

gpu: ## on a machine with a GPU: the kernels' tests compiled, then the benchmarks (installs nothing)
	TRITON_INTERPRET=0 VALUELAB_KERNELS=auto PYTHONPATH=lib $(PYTHON) -m pytest tests/gpu -p no:cacheprovider
	PYTHONPATH=lib $(PYTHON) benchmarks/gpu_table.py

lint: $(READY) ## ruff, and whether every built file is current
	$(BIN)/python -m ruff check .
	$(BIN)/python -m valuelab.course.build --check

clean: ## remove what set-up and tests left behind (.venv too)
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build out lib/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help setup lab test browser grade tracks course build site kit model floors gpu lint clean
