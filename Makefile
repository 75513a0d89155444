# `make run` starts Palimpsest; `make test` runs all tests. Both need only Python 3.11 or later.

PYTHON ?= $(firstword $(foreach python,python3 python3.14 python3.13 python3.12 python3.11,\
	$(shell $(python) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(python))))
# Processes that the tests run in; each starts servers of its own, and needs some 3 GB.
PROCESSES ?= 3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.PHONY: run test test-unit test-integration test-worker test-browser test-wheel lint bench \
	wheel migration clean chromium vllm

run: .venv/installed
	$(BIN)/palimpsest up

PYTEST := $(BIN)/python -m pytest -n $(PROCESSES) --dist loadgroup

# All tests.
test: .venv/installed-dev chromium
	$(PYTEST)

# Under a minute: no server, no download, no browser.
test-unit: .venv/installed-dev
	$(PYTEST) tests/unit

# With PostgreSQL, Valkey, the web server and the fetched model.
test-integration: .venv/installed-dev
	$(PYTEST) tests/integration

# With Celery workers.
test-worker: .venv/installed-dev
	$(PYTEST) tests/worker

wheel: .venv/bin/python
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

# The wheel, installed in a bare environment and run without the checkout.
test-wheel: .venv/installed-dev
	$(BIN)/python -m pytest tests/wheel

# With Chromium, and for the whole loop a worker.
test-browser: .venv/installed-dev chromium
	$(PYTEST) tests/browser

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/djlint --lint --quiet templates

bench: .venv/installed-bench
	$(BIN)/python -m benchmarks.collect
	$(BIN)/python -m benchmarks.rewrite_eval
	$(BIN)/python -m benchmarks.simulator_quality
	$(BIN)/python -m benchmarks.simulation
	$(BIN)/python -m benchmarks.pages
	$(BIN)/python -m benchmarks.loop
	$(BIN)/python -m benchmarks.soak

# make migration message="Latents have names"
migration: .venv/installed-dev
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m migrations.new "$(message)"

# requirements.lock anew; needs uv.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header --extra dev \
		-c constraints.txt pyproject.toml -o requirements.lock
	@sed -i.old '1i\
		# One complete set of versions under constraints.txt, for Python 3.11 on Linux and macOS. `make lock` writes it.' requirements.lock && rm -f requirements.lock.old

clean:
	rm -rf .venv

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "palimpsest: Python 3.11 or later is needed; install it, or name it: make run PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -m venv .venv || { rm -rf .venv; \
		echo "palimpsest: the virtual environment cannot be made; on Debian, install python3-venv" >&2; exit 1; }

# A stamp is newer than the files that say what to install, unless one of them changed since.
.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e .
	@touch $@

.venv/installed-dev: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e '.[dev]'
	@touch $@ .venv/installed

.venv/installed-bench: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e '.[bench]'
	$(PIP) --no-deps eai-delphi==0.1.3
	@touch $@ .venv/installed

# The tests drive Debian's Chromium.
chromium:
	@if [ -x "$${CHROMIUM:-/usr/bin/chromium}" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -q && apt-get install -q -y --no-install-recommends chromium; \
	else \
		echo "palimpsest: the tests need Chromium: install it (apt-get install chromium), or set CHROMIUM to it" >&2; \
		exit 1; \
	fi

# The tests run against a real vLLM, which they install themselves if this has not.
vllm: .venv/installed-dev
	$(BIN)/python -m tests.vllm_environment
