# Everything runs in .venv, which the first target that needs it makes. PYTHON may name another interpreter (3.10 or newer).
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1

.PHONY: help install hooks quickstart test extras ray wheel fuzz kills families published architectures consumers reference docs lint bench clean

help: ## say what every target does
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --constraint constraints.txt
	@touch $@

install: .venv/installed ## make .venv with everything in it (CPU build of torch)

hooks: .venv/installed ## run what lint runs before every commit
	$(BIN)/python -m pip install --quiet 'pre-commit>=4' --constraint constraints.txt
	$(BIN)/pre-commit install

quickstart: .venv/installed ## distil a search encoder for this machine's Python documentation, offline
	$(BIN)/potstill quickstart

test: .venv/installed ## run the whole suite, offline
	$(BIN)/python -m pytest -n 2 --dist loadfile

extras: .venv/installed ## install mteb and OpenVINO into .venv and run their tests, offline
	$(BIN)/python -m pip install --quiet --editable '.[mteb,openvino]' --constraint constraints.txt
	$(BIN)/python -m pytest tests/tasks/test_mteb.py tests/runtime/test_openvino.py

ray: .venv/installed ## install Ray into .venv and run its tests on a cluster of two nodes, offline; where CI is set the short ones
	$(BIN)/python -m pip install --quiet --editable '.[ray]' --constraint constraints.txt
	$(BIN)/python -m pytest tests/ray $(if $(CI),-m "not slow")

wheel: .venv/installed ## install the wheel without extras under each Python from 3.10 to 3.13 that is here; where CI is set under one
	POTSTILL_WHEEL="$(if $(CI),$(PYTHON),python3.10 python3.11 python3.12 python3.13)" $(BIN)/python -m pytest tests/wheel

fuzz: .venv/installed ## the fuzzing of recipes, data and model folders with 10,000 examples each instead of the suite's few
	FUZZ_EXAMPLES=2500 $(BIN)/python -m pytest -n 2 --timeout 7200 tests/fuzz

kills: .venv/installed ## kill train, export and search at every write and at 100 random moments; each must end as an unbroken one
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m kills.kills

families: .venv/installed ## try every family of encoders, export and int8 too, against docs/architectures.md
	POTSTILL_FAMILIES=all $(BIN)/python -m pytest -n 2 --dist load tests/models/test_families.py

published: .venv/installed ## score MiniLM on all five STS sets against the published figures; the suite takes two of them
	POTSTILL_PUBLISHED=all $(BIN)/python -m pytest tests/evaluation/test_quality.py

architectures: .venv/installed ## try every family and write docs/architectures.md anew; NAMES="bert mpnet" for these rows alone
	PYTHONPATH=tests $(BIN)/python -m helpers.architectures $(NAMES)

consumers: .venv/installed ## read bundles with other libraries (5 GB of packages) and write docs/consumers.md; NAMES="'fastembed 0.7'" for some
	PYTHONPATH=tests $(BIN)/python -m consumers.consumers $(NAMES)

reference: .venv/installed ## write docs/reference/ anew: recipe keys, losses, layer maps, poolings and commands, out of the code
	PYTHONPATH=tests $(BIN)/python -m helpers.reference

docs: .venv/installed ## the documents as a site, in build/site; a link that leads nowhere is an error
	$(BIN)/python -m pip install --quiet --editable '.[docs]' --constraint constraints.txt
	$(BIN)/python -m mkdocs build --strict

lint: .venv/installed ## style, types and which part may import which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/installed ## speed against sentence-transformers, as JSON; MODEL names the student (default: cut from the quickstart's teacher)
	$(BIN)/python benchmarks/speed.py $(if $(MODEL),--model $(MODEL))

clean: ## remove .venv and caches, keep runs/
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
