# make course   set up and run the notebooks on this machine's CPU (profile embedded)
# make test     set up and run the tests
# make site     a finished run as web pages, in build/site; another run than embedded: make site RUN=vast-24gb
# make vast     Vast.ai's command line, in .venv-vast, for forge vast
# make setup    only the environment, in .venv; another Python: make setup PYTHON=python3.12

PYTHON ?= python3
RUN ?= embedded
VENV := .venv
INSTALL := $(VENV)/bin/python -m pip install -c constraints.txt -e
# idle OpenMP threads sleep instead of spinning: far faster where cores are few or shared
export OMP_WAIT_POLICY ?= passive

NOTEBOOKS := $(wildcard notebooks/*.ipynb notebooks/solutions/*.ipynb)
STRIP := nbstripout --keep-id --drop-tagged-cells injected-parameters --extra-keys "metadata.papermill cell.metadata.papermill"

# it pins packages that clash with those of the course, so it has its own environment
VASTAI := vastai==1.9.1

.PHONY: setup course test site vast lint clean

setup: $(VENV)/.installed

course: setup
	$(VENV)/bin/forge run embedded

test: $(VENV)/.installed-dev $(VENV)-vast/.installed
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

site: setup
	$(VENV)/bin/python -m forge_core.site --run $(RUN)

vast: $(VENV)-vast/.installed

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(if $(NOTEBOOKS),$(VENV)/bin/$(STRIP) --verify $(NOTEBOOKS))

# what the embedded profile made, and caches; environments and other runs stay
clean:
	rm -rf runs/embedded data/embedded checkpoints/embedded .pytest_cache .ruff_cache .hypothesis build
	find forge_core tests -name __pycache__ -prune -exec rm -rf {} +

# The stamps make a second `make` install nothing until the pins or the dependencies change.
$(VENV)/.installed: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(INSTALL) .
	touch $@

$(VENV)/.installed-dev: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(INSTALL) '.[dev]'
	touch $(VENV)/.installed $@

$(VENV)-vast/.installed: Makefile
	$(PYTHON) -m venv $(VENV)-vast
	$(VENV)-vast/bin/python -m pip install -q $(VASTAI)
	touch $@

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, $(PYTHON) is older; try: make setup PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
