# Everything is installed into .venv, with the versions of uv.lock. Prefect's own files go to .prefect
# (see [tool.prefect] in pyproject.toml).
PYTHON ?= python3
BIN := .venv/bin

DESTINATION ?= ~/bigearthnet/dataset
OPTIONS ?=
PORT ?= 4200
export UV_PYTHON_DOWNLOADS := never

.DEFAULT_GOAL := help
.PHONY: help setup run dataset serve deploy test test-unit test-host lint format bench bench-compare campaign fuzz test-examples clean purge

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: .venv/.done  ## install everything into .venv

.venv/.done: uv.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "expected Python 3.11 or newer, found " + sys.version.split()[0] + "; name another one: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python deployments/uv_requirement.py | \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement /dev/stdin
	$(BIN)/uv sync --locked --compile-bytecode --python $(BIN)/python
	touch $@

run: setup  ## prepare the embedded sample into sample-dataset
	@$(BIN)/bigearthnet prepare sample-dataset --source sample --work-dir sample-work

dataset: setup  ## prepare the real dataset: make dataset DESTINATION=~/bigearthnet/dataset OPTIONS="--transfer stream"
	@$(BIN)/bigearthnet prepare '$(subst ','\'',$(DESTINATION))' $(OPTIONS)

serve: setup  ## run Prefect's server and UI, the deployments and a worker on 127.0.0.1: make serve PORT=4200
	@$(BIN)/bigearthnet serve --port $(PORT)

deploy: export PREFECT_API_URL ?= http://127.0.0.1:$(PORT)/api
deploy: setup  ## refresh the deployments on the server; RESET=1 sets them to what prefect.yaml says
	@$(BIN)/bigearthnet deploy $(if $(RESET),--reset)

test: setup  ## run all tests, in one process more than there are cores: many wait for servers
	$(BIN)/python -m pytest --numprocesses $$($(BIN)/python -c 'import os; print(os.cpu_count() + 1)') --dist loadfile --no-loadscope-reorder

test-unit: setup  ## run the tests that take seconds
	$(BIN)/python -m pytest --numprocesses auto tests/unit

test-host: setup  ## set up a whole machine in an emulator and try it; T2MICRO names the emulator's program
	$(BIN)/python -m pytest tests/host

test-examples: run  ## train with PyTorch and Keras on the sample; they are installed into .examples-venv
	test -x .examples-venv/bin/python || $(PYTHON) -m venv .examples-venv
	.examples-venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement examples/requirements.txt
	$(BIN)/python -m pytest tests/examples

lint: setup  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## bring the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## print times and memory: make bench OPTIONS="--only stages growth --json figures.json"
	$(BIN)/python -m benchmarks $(OPTIONS)

bench-compare: setup  ## fail if a stage is 15 % slower than benchmarks/baseline.json; OPTIONS=--renew writes it
	$(BIN)/python -m benchmarks.compare $(OPTIONS)

campaign: setup  ## run under faults for 30 minutes, and print a table: make campaign OPTIONS="--minutes 5"
	$(BIN)/python -m campaign $(OPTIONS)

fuzz: setup  ## feed every parser damaged input, and keep what it should not have done: make fuzz INPUTS=1000 SEED=2
	$(BIN)/python -m fuzz --inputs $(or $(INPUTS),100000) --seed $(or $(SEED),1)

clean:  ## remove the sample that make run prepared
	@for folder in sample-dataset sample-work; do \
		if test -e $$folder/.bigearthnet; then rm -rf $$folder; fi; done

purge: clean  ## remove Prefect's database too: history, blocks, what was set in the UI; YES=1 does not ask
	@if find /proc/[0-9]*/fd -lname '$(CURDIR)/.prefect/*' 2>/dev/null | grep -q .; then \
		echo "A Prefect server uses .prefect. Stop it first (Ctrl-C in make serve)."; exit 1; fi
	@test -n "$(YES)" || { printf 'Remove .prefect with runs, logs, blocks and all that was set in the UI? [y/N] '; \
		read answer && test "$$answer" = y; }
	rm -rf .prefect
