# The front door on a machine with Python 3.11 to 3.13 and its venv, make and a C compiler. No ROS, no GPU needed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# What the demo runs: MODEL=v2-small, or CHECKPOINT=path with MODEL saying which network it holds.
MODEL ?=
CHECKPOINT ?=

# The ROS here comes from pip, and what a sourced one leaves in the environment would be found before it.
ifdef AMENT_PREFIX_PATH
unexport AMENT_PREFIX_PATH LD_LIBRARY_PATH PYTHONPATH RMW_IMPLEMENTATION ROS_DISTRO
endif

.PHONY: demo test bench train-smoke train-tiny accuracy lint setup clean

demo: $(READY)
	$(BIN)/python -m depth_anything_ros.node.demo.main --model "$(MODEL)" --checkpoint "$(CHECKPOINT)" --output demo

# Each core has a worker, but no more than fit the memory of one machine; tests of one file share what they set up.
test: $(READY)
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

# The built-in model and ViT-S, whose weights may be random for this, beside Hugging Face's transformers; then the node.
# docs/performance.md says how to read it.
bench: $(READY)
	mkdir -p bench
	$(BIN)/depth-anything bench --model untrained-small --size 1280x720 --reference \
	  --json bench/engine.json --markdown bench/engine.md
	$(BIN)/depth-anything bench --size 1280x720 --end-to-end --json bench/node.json --markdown bench/node.md

# All of the training at a size of minutes; killed and started again it goes on. docs/reproduction.md.
train-smoke: $(READY)
	$(BIN)/python -m training.smoke output=train-smoke

# The built-in model, from ImageNet's encoders, photographs, furniture libraries and a little measured depth. docs/tiny.md.
PHOTOS ?=
THINGS ?= /usr/share/sweethome3d/furniture
MEASURED ?=
TRAIN := $(BIN)/depth-anything-train
train-tiny: $(READY)
	@test -d "$(PHOTOS)" -a -d "$(THINGS)" -a -d "$(MEASURED)/hololens" -a -d "$(MEASURED)/pjlab" || \
	  { echo "train-tiny needs three folders: make train-tiny PHOTOS=... THINGS=... MEASURED=..., docs/tiny.md"; exit 2; }
	mkdir -p train-tiny && ln -sfn "$(abspath $(MEASURED))" train-tiny/measured
	$(TRAIN) synthesize --recipe tiny-scenes textures="$(PHOTOS)"
	$(TRAIN) synthesize --recipe tiny-furnished textures="$(PHOTOS)" things="$(THINGS)"
	$(TRAIN) teacher --recipe tiny-base
	$(TRAIN) teacher --recipe tiny-teacher
	$(TRAIN) teacher --recipe tiny-teacher-measured
	$(TRAIN) ingest --recipe tiny-photos 'images=[{type: images, path: "$(PHOTOS)"}]'
	$(TRAIN) label --recipe tiny-labels
	$(TRAIN) student --recipe tiny-student
	$(TRAIN) teacher --recipe tiny-finish
	$(BIN)/python -m training.builtin train-tiny/finish/model.safetensors train-tiny/finish.safetensors
	$(TRAIN) synthesize --recipe tiny-narrow textures="$(PHOTOS)" things="$(THINGS)"
	$(TRAIN) teacher --recipe tiny-refine
	$(TRAIN) teacher --recipe tiny-correlation
	$(BIN)/python -m training.builtin train-tiny/correlation/model.safetensors train-tiny/correlation.safetensors
	$(TRAIN) synthesize --recipe tiny-more textures="$(PHOTOS)" things="$(THINGS)"
	$(TRAIN) synthesize --recipe tiny-more textures="$(PHOTOS)" things="$(THINGS)" \
	  scenes=700 'field_of_view=[50.0, 100.0]' seed=4 output=train-tiny/wider
	$(TRAIN) teacher --recipe tiny-long
	$(BIN)/python -m training.average train-tiny/average.safetensors \
	  train-tiny/correlation/model.safetensors train-tiny/long/model.safetensors
	$(TRAIN) teacher --recipe tiny-all
	$(TRAIN) label --recipe tiny-relabels
	$(TRAIN) teacher --recipe tiny-views
	$(TRAIN) synthesize --recipe tiny-more textures="$(PHOTOS)" things="$(THINGS)" \
	  scenes=1200 'field_of_view=[45.0, 80.0]' seed=5 output=train-tiny/further
	$(TRAIN) label --recipe tiny-relabels teacher=train-tiny/views/model.safetensors output=train-tiny/relabels-again
	$(TRAIN) teacher --recipe tiny-exposures
	$(BIN)/python -m training.average train-tiny/last.safetensors \
	  train-tiny/views/model.safetensors train-tiny/exposures/model.safetensors
	$(TRAIN) synthesize --recipe tiny-more textures="$(PHOTOS)" things="$(THINGS)" \
	  scenes=1200 'field_of_view=[45.0, 90.0]' seed=6 output=train-tiny/last-scenes
	$(TRAIN) label --recipe tiny-relabels teacher=train-tiny/last.safetensors output=train-tiny/relabels-last
	$(TRAIN) teacher --recipe tiny-shortened
	$(BIN)/python -m training.average --architecture tiny train-tiny/short.safetensors \
	  train-tiny/last.safetensors train-tiny/shortened/model.safetensors
	$(TRAIN) label --recipe tiny-relabels teacher=train-tiny/short.safetensors output=train-tiny/relabels-of-short
	$(TRAIN) teacher --recipe tiny-longer
	$(BIN)/python -m training.average --architecture tiny \
	  --pictures train-tiny/photos --pictures train-tiny/last-scenes \
	  train-tiny/longer.safetensors train-tiny/last.safetensors train-tiny/longer/model.safetensors
	$(BIN)/python -m training.builtin --pictures train-tiny/photos --pictures train-tiny/last-scenes \
	  train-tiny/longer.safetensors train-tiny/tiny.safetensors

# The built-in model's numbers in the README. DATA has the folders hololens and dgp, see docs/tiny.md.
DATA ?=
accuracy: $(READY)
	@test -d "$(DATA)/hololens" || { echo "accuracy needs the real scenes: make accuracy DATA=FOLDER, docs/tiny.md"; exit 2; }
	$(TRAIN) evaluate --recipe tiny-evaluation "data=[{protocol: hololens, path: \"$(DATA)/hololens\"}, \
	  {protocol: dgp, path: \"$(DATA)/dgp/test_scene\"}, {protocol: motorcycle}]"
	@cat accuracy/table.md

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

setup: $(READY)

# pip is asked for, since a venv that was made without python3-venv has none.
$(READY): setup.py setup.cfg constraints.txt
	@test -n "$(PYTHON)" || { echo "No python3 found: install Python 3.11 to 3.13."; exit 1; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[ros,openvino,onnx,int8,train,test]'
	@touch $@

clean:
	rm -rf $(VENV) demo bench train-smoke accuracy build install log *.egg-info
