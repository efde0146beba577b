# Two commands are enough on a fresh machine: `make demo` and `make test`.
# Both create .venv once and reuse it until a pyproject.toml or constraints.txt changes.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
INSTALLED := .venv/.installed
PROJECTS := pyproject.toml $(wildcard plugins/*/pyproject.toml) simulators/pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help demo test lint install clean

help:  ## Show this help
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## Simulated beamline, plan, Tiled, fused movie (options: make demo ARGS="--help")
	$(BIN)/xfusion-bluesky demo $(ARGS)

test: lint  ## Lint, then run every test (options: make test ARGS="-k catalog")
	$(BIN)/python -m pytest $(ARGS)

lint: $(INSTALLED)  ## Style, format, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(INSTALLED)  ## Create .venv without running anything

# The compat mode writes plain paths, which mypy can follow; the default import hooks it cannot.
$(INSTALLED): $(PROJECTS) constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'xfusion-bluesky needs Python 3.11 or newer; choose one with: make PYTHON=python3.11' >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		--config-settings editable_mode=compat \
		-e '.[all,dev]' -e plugins/bayesian -e plugins/bicubic -e plugins/edvr -e plugins/motion \
		-e plugins/swin_xvr -e simulators
	touch $@

clean:  ## Remove .venv and every cache
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name '*.egg-info' -type d -prune -exec rm -rf {} +
