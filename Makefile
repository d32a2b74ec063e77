# make demo: install, train on the embedded dataset, evaluate, draw.   make test: install, run the suite.   make check: lint.
# make docs: the documentation as a site in site/.
PYTHON ?= python3.11
STACK ?= openmmlab
VENV ?= .venv-$(STACK)
CONFIG ?= configs/retinanet_pvt_small_coco.py

NAME = $(basename $(notdir $(CONFIG)))_demo
BIN = $(VENV)/bin
READY = $(VENV)/ready
# Two workers with a thread each take half the time of one with two: most tests are small. A file's tests share fixtures.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-stack check format docs clean

demo: $(READY)
	$(BIN)/python tools/train.py $(CONFIG) --demo
	$(BIN)/python tools/test.py $(CONFIG) $$(cat work_dirs/$(NAME)/last_checkpoint) --demo
	@echo "figures: work_dirs/$(NAME)/predictions.png work_dirs/$(NAME)/curves.png"

test: $(READY)
	$(PYTEST)

test-stack: $(READY)
	$(PYTEST) -m "stack and not once"

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install -c constraints.txt -e '.[$(STACK),dev]'
	# mmcv asks for opencv-python, which needs the system's libGL; the headless build of the same modules needs nothing.
	$(BIN)/pip install --force-reinstall --no-deps -c constraints.txt opencv-python-headless
	touch $@

clean:
	rm -rf site .venv-* .pytest_cache .ruff_cache .mypy_cache
