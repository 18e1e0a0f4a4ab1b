# Each target makes what it needs in .venv; a fresh machine needs Python 3.11 or newer, make, and g++ or clang.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-fast lint bench engines-venv clean

demo: .venv/.demo
	rm -rf build/demo && mkdir -p build/demo
	$(BIN)/tuner campaign run examples/demo.yaml --runner ray --store build/demo/tuner.db
	$(BIN)/tuner best add_rmsnorm --workload-name llama3-8b-decode --store build/demo/tuner.db
	$(BIN)/tuner best int8_gemv --workload-name llama3-8b-decode --store build/demo/tuner.db
	$(BIN)/tuner best decode_attention --workload-name llama3-8b-decode-4k --store build/demo/tuner.db

test: .venv/.dev
	$(BIN)/pytest

test-fast: .venv/.dev
	$(BIN)/pytest -m "not slow"

lint: .venv/.dev
	$(BIN)/ruff check tuner tests benchmarks examples tools
	$(BIN)/ruff format --check tuner tests benchmarks examples tools
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.dev
	$(BIN)/python -m benchmarks

# vLLM for CPUs in an environment of its own, some gigabytes; what is there already stays.
engines-venv:
	$(PYTHON) tools/engines_venv.py

clean:
	rm -rf .venv .venv-engines build

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[ray]'
	touch $@

.venv/.dev: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[dev]'
	touch $@ .venv/.demo
