# Every target sets up the environment first; that is done once and then costs nothing (.ci/setup).
VENV_PYTHON = .venv/bin/python
# Test workers share the cores: one thread each.
ONE_THREAD = OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.PHONY: demo test lint perf setup

demo: setup
	$(VENV_PYTHON) -m bench.prepare digits letters digit_glyphs digits_noisy
	$(VENV_PYTHON) -m bench.submit grids/demo.yaml --cluster local --workers 2 --yes
	$(VENV_PYTHON) -m analysis grids/demo.yaml

test: lint
	$(ONE_THREAD) $(VENV_PYTHON) -m pytest -q -n 2

lint: setup
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check
	$(VENV_PYTHON) -m mypy

perf: setup
	$(VENV_PYTHON) -m bench.perf

setup:
	@.ci/setup
