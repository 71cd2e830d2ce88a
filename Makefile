# Every target sets up the environment first; that is done once and then costs nothing (.ci/setup).
VENV_PYTHON = .venv/bin/python
# Test workers share the cores: one thread each.
ONE_THREAD = OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

# The dev cluster's nodes share this machine's cores as the demo's two workers do: then its numbers are the same.
SHARE = $$(( $$(nproc) > 1 ? $$(nproc) / 2 : 1 ))
SLURM_DEMO = runs/slurm-demo

.PHONY: demo slurm-demo test lint perf setup setup-slurm setup-browser

demo: setup
	$(VENV_PYTHON) -m bench.prepare digits letters digit_glyphs digits_inverted digits_noisy
	$(VENV_PYTHON) -m bench.submit grids/demo.yaml --cluster local --workers 2 --yes
	$(VENV_PYTHON) -m analysis grids/demo.yaml

slurm-demo: setup setup-slurm
	$(VENV_PYTHON) -m bench.prepare digits letters digit_glyphs digits_inverted digits_noisy
	@mkdir -p $(SLURM_DEMO)
	@set -e; trap 'slurm/devcluster stop $(SLURM_DEMO)/cluster' EXIT; \
	eval "$$(slurm/devcluster start $(SLURM_DEMO)/cluster --nodes 2 --cpus $(SHARE))"; \
	export TICKETBENCH_ROOT=$(SLURM_DEMO); set -x; \
	$(VENV_PYTHON) -m bench.submit grids/demo.yaml --profile slurm/one_machine.yaml --set defaults.cpus=$(SHARE) --yes; \
	$(VENV_PYTHON) -m bench.status grids/demo.yaml --watch 15; \
	$(VENV_PYTHON) -m analysis grids/demo.yaml

test: lint setup-slurm setup-browser
	$(ONE_THREAD) $(VENV_PYTHON) -m pytest -q -n 2 --dist worksteal

lint: setup
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check
	$(VENV_PYTHON) -m mypy

perf: setup
	$(VENV_PYTHON) -m bench.perf

setup:
	@.ci/setup

setup-slurm:
	@.ci/setup-slurm

setup-browser:
	@.ci/setup-browser
