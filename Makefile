# Two commands do everything on a fresh machine: `make demo` and `make test`. Needs Python 3.11 to 3.13.
PYTHON ?= python3
BIN := .venv/bin
RUNS ?= runs.csv
OUT ?= conf/local/calibration.json
MINUTES ?= 60
DATA ?= data
SAMPLE ?= 60
SEED ?= 1

.PHONY: help demo test test-all check doctor environment bench-data bench-train bench-vram bench-scoreboard bench-gpu gpu-day bench-int8 bench-runners bench-compression bench-video bench-ingest bench-tiles bench-padding bench-levers bench-several-cards bench-distributed bench-agents bench-checkpoints docs pictures faults mutants soak replay calibrate lock clean

help:  ## say what can be made
	@grep -hE '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 16

demo: environment  ## set up, then run the flower classifier on the built-in sample
	$(BIN)/kedro run --pipeline flower_classifier

# A process a core, four at most: each may hold 3 GB. Files go as they are listed: tests/conftest.py puts the longest first.
TESTS_BESIDE := --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: environment  ## set up, then run the tests
	$(BIN)/pytest $(TESTS_BESIDE)

test-all: environment  ## the same, with whole pipelines, killed runs and notebooks
	$(BIN)/pytest $(TESTS_BESIDE) -m "not slow"

faults: environment  ## the long tests: 25 kills of each case study, 10,000 damaged inputs of each reader (hours)
	EIGHTGIG_FUZZ_INPUTS=10000 $(BIN)/pytest tests/fuzz
	$(BIN)/pytest -m slow

mutants: environment  ## do the tests test? Small faults put into the code, a sample a room: ROOM=vram/allocator, SAMPLE=60, SEED=1
	$(BIN)/uv pip install --quiet --python $(BIN)/python --requirements pyproject.toml --extra mutants
	$(BIN)/python benchmarks/mutants.py --sample $(SAMPLE) --seed $(SEED) $(if $(ROOM),--room $(ROOM)) --out benchmarks/results/mutants.json

soak: environment  ## train and evaluate for an hour: does anything grow?
	$(BIN)/python benchmarks/soak.py --minutes $(MINUTES)

replay: environment  ## send what a tracking server that was dead has not got
	$(BIN)/eightgig replay

check: environment  ## set up, then lint, types and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: environment  ## the documentation as a site, in build/site; without any network, and strict
	$(BIN)/uv pip install --quiet --python $(BIN)/python --requirements pyproject.toml --extra docs
	$(BIN)/python scripts/codes.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

pictures: environment  ## the README's pictures anew, from finished runs of flower_classifier and gpu_guide: DATA=data; needs Chromium
	PYTHONPATH=benchmarks $(BIN)/python scripts/readme_pictures.py --data $(DATA)

doctor: environment  ## say what this machine can run, and what to change
	$(BIN)/eightgig doctor

environment: .venv/installed  ## set up alone: .venv, as requirements.lock says

.venv/installed: requirements.lock requirements-sample-data.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "Python 3.11 to 3.13 is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --requirements requirements.lock
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --requirements requirements-sample-data.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --editable .
	touch $@

bench-data: environment  ## data loading against its peers, images per CPU-second
	$(BIN)/python benchmarks/data_loading.py

bench-train: environment  ## one epoch through the pipeline against a bare loop
	$(BIN)/python benchmarks/training_loop.py

bench-vram: environment  ## the memory predictor against measured runs: RUNS=runs.csv
	$(BIN)/python benchmarks/vram_accuracy.py $(RUNS)

# With the transformers that the language models' runs had, beside the environment's: other versions hold other tensors.
build/transformers: | environment
	$(BIN)/uv pip install --quiet --python $(BIN)/python --target $@ --no-deps transformers==4.51.3 tokenizers==0.21.1 huggingface_hub==0.30.2

# The libraries of the fine-tuning runs: torchtune of the days when its table was measured, and what it imports.
build/trainers: | environment
	$(BIN)/uv pip install --quiet --python $(BIN)/python --target $@ --no-deps torchtune==0.4.0 torchao==0.16.0 diffusers==0.38.0 datasets==4.2.0 dill==0.4.0 multiprocess==0.70.16 xxhash==4.1.0 torchdata==0.11.0 omegaconf==2.3.0 antlr4-python3-runtime==4.9.3 sentencepiece==0.2.3 tiktoken==0.14.0 blobfile==3.3.0 pycryptodomex==3.24.2 kagglehub==0.3.13

SOURCES := xMem GPUMemNet torchtune torchao peft transformers mmsegmentation deeplearning-benchmark
bench-scoreboard: build/transformers build/trainers  ## memory predicted of public runs, ours beside others': RUNS=folder, SOURCES="xMem peft" for some; writes docs/scoreboard.md
	for source in $(SOURCES); do \
		case $$source in xMem|GPUMemNet) libraries=transformers;; *) libraries=trainers;; esac; \
		PYTHONPATH=build/$$libraries $(BIN)/python benchmarks/scoreboard.py $(RUNS) --sources $$source --track $$source || exit 1; \
	done

bench-gpu: environment  ## the memory predictor against the GPU at hand: MINUTES=60, resumes
	$(BIN)/python benchmarks/vram_gpu.py --minutes $(MINUTES)

# A Python named on the command line is one that has torch already: it is used as it is, and .venv is left alone.
GPU_PYTHON := $(if $(filter command line,$(origin PYTHON)),$(PYTHON),$(BIN)/python)
GPU_MINUTES := $(if $(filter file,$(origin MINUTES)),10,$(MINUTES))
gpu-day: $(if $(filter command line,$(origin PYTHON)),,environment)  ## all that benchmarks/results owes on a card, the most important first: MINUTES=10, takes up where it stopped; DRY=1 rehearses on the CPU
	PYTHONPATH=src$(if $(PYTHONPATH),:$(PYTHONPATH)) $(GPU_PYTHON) benchmarks/gpu_day.py --minutes $(GPU_MINUTES) $(if $(DRY),--rehearse)

bench-int8: environment  ## INT8 in ONNX Runtime on this CPU against torch eager
	$(BIN)/python benchmarks/int8_cpu.py

bench-padding: environment  ## training on texts of about one length against padding all to the longest
	$(BIN)/python benchmarks/padding.py

bench-levers: environment  ## what each lever of the plan saves for GPT-2 medium, predicted
	$(BIN)/python benchmarks/levers.py

bench-distributed: environment  ## what two processes send in a step, by strategy, beside what the planner says
	$(BIN)/python benchmarks/distributed.py

bench-several-cards: environment  ## what networks take on two cards of 8 GB, by strategy, predicted
	$(BIN)/python benchmarks/several_cards.py

bench-agents: environment  ## PPO beside Stable-Baselines3's (pip install stable-baselines3 first)
	$(BIN)/python benchmarks/agents.py

bench-checkpoints: environment  ## what a checkpoint costs
	$(BIN)/python benchmarks/checkpoints.py

bench-video: environment  ## a video through the detector: overlapped against one after the other
	$(BIN)/python benchmarks/video.py

bench-runners: environment  ## every runner that runs here; on a GPU under 8 GiB
	$(BIN)/python benchmarks/runners.py

bench-compression: environment  ## pruning and distillation on the run that is there: DATA=data
	$(BIN)/python benchmarks/compression.py --data $(DATA)

bench-ingest: environment  ## 20,000 small files: speed, memory, and what a kill costs
	$(BIN)/python benchmarks/ingest.py --files 20000

bench-tiles: environment  ## peak memory by the image's size, and throughput beside the bare network
	$(BIN)/python benchmarks/tiles.py memory
	$(BIN)/python benchmarks/tiles.py speed

calibrate: environment  ## measure the constants of workspace memory on the GPU at hand: OUT=conf/local/calibration.json
	$(BIN)/eightgig calibrate --out $(OUT)

lock: environment  ## resolve requirements.lock anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra pipelines --extra dev --extra lora --extra notebooks --extra viz \
		--no-annotate --no-header --no-emit-index-url --upgrade pyproject.toml --output-file requirements.lock

clean:  ## remove the environment; data and tracked runs stay
	rm -rf .venv
