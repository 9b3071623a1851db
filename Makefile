# The commands of a newcomer. Each sets up what is missing and may be run again at any time.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
export OMP_WAIT_POLICY ?= passive
export GOMP_SPINCOUNT ?= 10000
export TOKENIZERS_PARALLELISM ?= false
export HF_HUB_DISABLE_TELEMETRY ?= 1

.PHONY: help install serve test check format clean

help:
	@echo "make serve    open the chat on the starter model (ARGS='--port 8000' passes flags on)"
	@echo "make test     run the tests, the browser tests included (ARGS='tests/store' runs some)"
	@echo "make check    lint and type check"
	@echo "make format   format the code"
	@echo "make clean    remove the virtual environment and the caches; never the store"

install:
	@deploy/install.sh $(VENV) $(PYTHON)

serve: install
	@$(BIN)/ratchet serve $(ARGS)

test: install
	@deploy/browser.sh $(VENV)
	@$(BIN)/python -m pytest $(ARGS)

check: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: install
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build *.egg-info
