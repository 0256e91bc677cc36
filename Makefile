# Set up, search, test, check. Everything lands in .venv; nothing is installed elsewhere.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
SEARCH ?= --space twins_cswin --data mnist5k --budget auto --study studies/first --retrain 2 --candidates 4 --retrain-epochs 12 --export
OUT    ?= gpu-results
# Folders of studies with scripts; each is checked by itself, since scripts of two may have one name.
STUDIES := $(sort $(dir $(wildcard studies/*/*.py)))
PYTEST ?= -n 2 --dist loadfile -m "not slow"

.DEFAULT_GOAL := help
.PHONY: help setup search test slow faults mutants gpu check docs table clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv and install the project with its tools (skipped while pyproject.toml is unchanged)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; type: make setup PYTHON=python3.12" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || { $(BIN)/python -m ensurepip >/dev/null && $(BIN)/python -m pip install -q uv; }
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python -e '.[dev]'
	@touch $@

search: $(STAMP) ## Run the main job on the embedded digits: search, retrain, export (again: resumes)
	$(BIN)/nas search $(SEARCH)

test: $(STAMP) ## Run the tests, two at a time, but for the slow ones
	$(BIN)/python -m pytest $(PYTEST)

slow: $(STAMP) ## Run the slow tests: Ray clusters, kill -9, full-size checkpoints
	$(BIN)/python -m pytest -m slow

faults: $(STAMP) ## Run the tests of real faults, slow ones too: servers that stop, full disks, races
	$(BIN)/python -m pytest tests/faults

mutants: $(STAMP) ## Put known faults into a copy of the code and see that a test notices each (minutes)
	$(BIN)/python -m tests.mutants

gpu: ## Run all that needs a GPU in 25 minutes, with $(PYTHON) as it is: tests, benches, a small search; results in OUT
	$(PYTHON) -m nas.bench.gpu --out $(OUT) $(QUICK)

check: $(STAMP) ## Lint, format and types, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	printf '%s\n' $(STUDIES) | xargs -P 2 -I{} sh -c 'MYPYPATH={}:$(subst / ,/:,$(STUDIES)) $(BIN)/mypy {}*.py'

docs: $(STAMP) ## Build the documentation into build/docs; a dead link is an error
	$(BIN)/python -m sphinx -q -W --keep-going -b html -c docs -d build/docs.trees . build/docs

table: $(STAMP) ## Write the tables of published designs and settings, the page of the commands, and quoted files
	$(BIN)/python -m search_spaces.published_table > PUBLISHED.tmp && mv PUBLISHED.tmp search_spaces/PUBLISHED.md
	$(BIN)/python -m tests.docs.documents

clean: ## Remove caches and build leftovers; studies and .venv stay
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find nas search_spaces supernet tests -name __pycache__ -type d -prune -exec rm -rf {} +
