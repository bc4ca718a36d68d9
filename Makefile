# The front door on a machine with Python 3.11, make and a C compiler. No ROS, no GPU needed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# What the demo runs: MODEL=v2-small, or CHECKPOINT=path with MODEL saying which network it holds.
MODEL ?= untrained-small
CHECKPOINT ?=

.PHONY: demo test bench train-smoke lint setup clean

demo: $(READY)
	$(BIN)/python -m depth_anything_ros.node.demo.main --model "$(MODEL)" --checkpoint "$(CHECKPOINT)" --output demo

test: $(READY)
	$(BIN)/python -m pytest

bench: $(READY)
	$(BIN)/depth-anything bench

# All of the training at a size of minutes; killed and started again it goes on. docs/reproduction.md.
train-smoke: $(READY)
	$(BIN)/python -m training.smoke output=train-smoke

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

setup: $(READY)

$(READY): setup.py setup.cfg constraints.txt
	@test -n "$(PYTHON)" || { echo "No python3 found: install Python 3.10 to 3.13."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[ros,openvino,train,test]'
	@touch $@

clean:
	rm -rf $(VENV) demo train-smoke build install log *.egg-info
