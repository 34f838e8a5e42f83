# `make chat`, `make test` and `make check` each work from nothing but python3 (3.10 or newer), a
# C and C++ compiler and the package registry. Everything is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# As many at once as there are processors, and no more than memory is there for.
PARALLEL := -n auto --maxprocesses 4 --dist worksteal

.PHONY: help chat quick test servers programs processors check format docs clean

help:
	@echo "make chat        talk to the trio that ships with edgeproxy"
	@echo "make quick       run the tests that need no weights and kill no process"
	@echo "make test        run all tests"
	@echo "make servers     build llama-server, for the tests that ask one"
	@echo "make programs    install Chromium, Xvfb, zsh and fish, which some tests drive"
	@echo "make processors  run all tests as on other processors; compiles llama.cpp once more"
	@echo "make check       linter, formatter, types, and whether README.md and docs/ are current"
	@echo "make format      let the linter and the formatter mend what they can"
	@echo "make docs        write the generated parts of docs/ again"
	@echo "make clean       remove what was installed and built"

chat: $(VENV)/.chat
	@$(BIN)/edgeproxy chat

quick: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL) -m "not weights and not slow"

test: $(VENV)/.dev
	@$(BIN)/python -m tools.models.real --optional
	$(BIN)/python -m pytest $(PARALLEL)

servers: $(VENV)/.dev
	$(BIN)/python -m tools.servers llama

programs:
	@sh tools/programs.sh

processors: $(VENV)/.dev
	@$(BIN)/python -m tools.models.real --optional
	$(BIN)/python -m tools.processors

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tools.docs --check

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev
	$(BIN)/python -m tools.docs

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find edgeproxy tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are older than pyproject.toml whenever what must be installed may have changed.
$(VENV)/.chat: pyproject.toml
	@PYTHON='$(PYTHON)' sh tools/install.sh $(VENV) chat
	@touch $@

$(VENV)/.dev: $(VENV)/.chat
	@PYTHON='$(PYTHON)' sh tools/install.sh $(VENV) chat,dev
	@touch $@
