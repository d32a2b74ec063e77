# make demo: install, train on the embedded dataset, evaluate, draw.   make check: lint and types.
# make test: install, run the first tier of the suite, ten minutes on two cores. make test-slow: the second tier. make test-all: both.
# make mutants: plant small faults, one after another, and see that the tests notice each.
# make test-lowest: run both tiers with the lowest versions that pyproject.toml allows. make test-lowest-quick: a quick part.
# make test-compiled: compile mmcv's operators and compare ours with them.
# make test-peers: compare with the networks of transformers and mmpretrain, in an environment of their own.
# make test-toolkits: add the toolkits that build their encoders from timm, and run the tests with them.
# make bench-compare COMMIT=HEAD~1: time this checkout against a commit.
# make docs: build the documentation as a site in site/. make browser: build the page that runs exported models; needs npm.
# make notebooks: run the notebooks of docs/notebooks and store their outputs.
STACK ?= openmmlab
VENV ?= .venv-$(STACK)
CONFIG ?= configs/retinanet_pvt_small_coco.py

# The newest supported Python that runs here and can make virtual environments; another one: make PYTHON=/path/to/python
SUPPORTED = 3.14 3.13 3.12 3.11 3.10
USABLE = import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 15))
ifndef PYTHON
PYTHON := $(shell for v in $(SUPPORTED) 3; do python$$v -c '$(USABLE)' 2> /dev/null && command -v python$$v && break; done)
endif
LOWEST ?= python3.10

# Python 3.10 has no newest versions of many packages: it gets the lowest ones.
PINS = $(shell $(PYTHON) -c 'import sys; print("constraints.txt" if sys.version_info >= (3, 11) else "constraints-lowest.txt")')

NAME = $(basename $(notdir $(CONFIG)))_demo
BIN = $(VENV)/bin
READY = $(VENV)/ready
# Two workers with a thread each take half the time of one with two: most tests are small. A file's tests share fixtures.
# A worker that crashes ends the run: xdist gives what it had left to nobody, and would wait for ever.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder

GPU_PYTHON ?= python3
GPU_OUT ?= docs
GPU_MINUTES ?= 9

PEERS = .venv-peers
PYTHON_PEERS ?= python3.11

.PHONY: demo bench-compare test test-slow test-all mutants test-peers test-stack test-toolkits test-lowest test-lowest-quick test-compiled check format docs notebooks browser clean gpu gpu-bundle

demo: $(READY)
	$(BIN)/python tools/train.py $(CONFIG) --demo
	$(BIN)/python tools/test.py $(CONFIG) $$(cat work_dirs/$(NAME)/last_checkpoint) --demo
	@echo "figures: work_dirs/$(NAME)/predictions.png work_dirs/$(NAME)/curves.png"

test: $(READY)
	$(PYTEST) -m "not slow"

test-slow: $(READY)
	$(PYTEST) -m slow $(LESS)

test-all: $(READY)
	$(PYTEST)

test-stack: $(READY)
	$(PYTEST) -m "stack and not once and not slow"

mutants: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python tools/mutants.py

# On a machine with a GPU and no network: a checkout, the wheels of gpu-bundle in gpu_wheels/, and a Python that has torch.
# GPU_OUT is the folder of the results, GPU_MINUTES the time limit.
gpu:
	if ls gpu_wheels/*.whl >/dev/null 2>&1; then \
	    $(GPU_PYTHON) -m pip install --quiet --no-index --no-deps --upgrade --target gpu_site gpu_wheels/*.whl; fi
	mkdir -p $(GPU_OUT)
	PYTHONPATH=$(CURDIR):$(CURDIR)/gpu_site $(GPU_PYTHON) tools/gpu.py --minutes $(GPU_MINUTES) --out $(GPU_OUT)/performance_gpu.md

gpu-bundle:
	PYTHON=$(PYTHON) tools/gpu_bundle.sh

test-toolkits: $(READY)
	$(BIN)/pip install -c constraints.txt -e '.[toolkits]'
	$(BIN)/pip install --no-deps -c constraints.txt terratorch
	$(PYTEST) tests/toolkits

# Time this checkout against one of its commits, in turns: make bench-compare COMMIT=HEAD~1 ARCHS="pvt_small van_b2"
bench-compare: $(READY)
	$(BIN)/python -m benchmarks.compare $(or $(COMMIT),HEAD~1) $(ARCHS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# Ten minutes of processor time each; a test wants the outputs without paths and warnings of this machine.
notebooks: $(READY)
	mkdir -p build/notebooks && cp docs/notebooks/*.ipynb build/notebooks
	cd build/notebooks && PYTHONWARNINGS=ignore:IProgress $(abspath $(BIN))/jupyter-execute --inplace --timeout=-1 *.ipynb
	cp build/notebooks/*.ipynb docs/notebooks

browser:
	cd tools/browser && npm ci && npm run build

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(READY): pyproject.toml constraints.txt constraints-lowest.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "error: make needs one of Python $(SUPPORTED), with its modules venv and ensurepip; none was found."; \
		echo "found: $$(for v in $(SUPPORTED) 3; do python$$v --version 2> /dev/null; done | sort -u | tr '\n' ' ')"; \
		echo "Debian, Ubuntu: apt install python3-venv. Python from elsewhere: make PYTHON=/path/to/python"; \
		exit 1; \
	fi >&2
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install -c $(PINS) -e '.[$(STACK),dev]'
	# mmcv asks for opencv-python, which needs the system's libGL; the headless build of the same modules needs nothing.
	$(BIN)/pip install --force-reinstall --no-deps -c $(PINS) opencv-python-headless
	touch $@

LOWEST_PYTEST = OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -n 2 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder

test-lowest: .venv-lowest/ready
	$(LOWEST_PYTEST) --ignore tests/house --ignore tests/demo/test_notebooks.py

test-lowest-quick: .venv-lowest/ready
	$(LOWEST_PYTEST) tests/backbones/test_contract.py tests/backbones/test_plain_pytorch.py tests/weights

.venv-lowest/ready: pyproject.toml constraints-lowest.txt
	$(LOWEST) -m venv --clear .venv-lowest
	.venv-lowest/bin/pip install -c constraints-lowest.txt -e '.[openmmlab,dev]'
	.venv-lowest/bin/pip install --force-reinstall --no-deps -c constraints-lowest.txt opencv-python-headless
	touch $@

# mmcv 2.1 with its operators, for the torch of constraints-lowest.txt: needs a C++ compiler and about 20 minutes of one core.
COMPILED = .venv-compiled
test-compiled: $(COMPILED)/ready
	if $(COMPILED)/bin/python -c "from mmcv import _ext"; then \
	    OMP_NUM_THREADS=1 $(COMPILED)/bin/python -m pytest tests/compat tests/predict/test_predictor.py tests/engine/test_launch.py; \
	else echo "skipped: mmcv did not compile here, see above"; fi

$(COMPILED)/ready: pyproject.toml constraints-lowest.txt
	$(LOWEST) -m venv --clear $(COMPILED)
	$(COMPILED)/bin/pip install -c constraints-lowest.txt -e '.[openmmlab]' pytest hypothesis 'setuptools<70' wheel ninja psutil
	$(COMPILED)/bin/pip uninstall -y mmcv-lite
	-MMCV_WITH_OPS=1 FORCE_CUDA=0 $(COMPILED)/bin/pip install --no-cache-dir --no-build-isolation --no-deps mmcv==2.1.0
	$(COMPILED)/bin/pip install --force-reinstall --no-deps -c constraints-lowest.txt opencv-python-headless
	touch $@

test-peers: $(PEERS)/ready
	OMP_NUM_THREADS=1 $(PEERS)/bin/python -m pytest tests/weights/test_layouts.py tests/weights/test_peer_classifiers.py

$(PEERS)/ready: pyproject.toml constraints.txt
	$(PYTHON_PEERS) -m venv --clear $(PEERS)
	grep -vE '^(huggingface_hub|tokenizers|transformers)\b' constraints.txt > $(PEERS)/constraints.txt  # theirs are of transformers 5
	$(PEERS)/bin/pip install -c $(PEERS)/constraints.txt -e '.[openmmlab,peers]' pytest hypothesis pycocotools
	$(PEERS)/bin/pip install --force-reinstall --no-deps -c constraints.txt opencv-python-headless
	touch $@

clean:
	rm -rf site .venv-* .pytest_cache .ruff_cache .mypy_cache
