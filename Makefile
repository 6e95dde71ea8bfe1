# RUNTIME chooses what the service computes with; they exclude each other. cpu, plain onnxruntime, works anywhere;
# openvino needs x86-64 Linux and is there 1.1 to 5 times as fast; gpu needs CUDA.
RUNTIME ?= $(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),openvino,cpu)
PYTHON ?= python3
SERVE_ENV := .venv-$(RUNTIME)
TEST_ENV := .venv

.PHONY: help serve test lint train bench table4 clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: $(SERVE_ENV)/installed ## install the service and run it on http://127.0.0.1:8000
	$(SERVE_ENV)/bin/dsnt-pose serve $(ARGS)

test: lint ## everything that CI checks
	$(TEST_ENV)/bin/python -m pytest $(ARGS)

lint: $(TEST_ENV)/installed ## ruff and mypy --strict
	$(TEST_ENV)/bin/ruff check .
	$(TEST_ENV)/bin/ruff format --check .
	$(TEST_ENV)/bin/mypy

train: $(TEST_ENV)/installed ## train: make train ARGS="--data PACK --start WEIGHTS --out RUN"
	$(TEST_ENV)/bin/python -m models.training $(ARGS)

bench: $(TEST_ENV)/installed ## time the service against its own session
	$(TEST_ENV)/bin/python -m tests.benchmarks.request_overhead $(ARGS)

table4: $(SERVE_ENV)/installed $(TEST_ENV)/hourglass.onnx ## the paper's Table 4 on this machine, with an 8-stack hourglass beside ours
	$(SERVE_ENV)/bin/dsnt-pose report
	$(SERVE_ENV)/bin/python -m tests.benchmarks.hourglass $(TEST_ENV)/hourglass.onnx

clean: ## remove the environments
	rm -rf .venv .venv-*

$(SERVE_ENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(SERVE_ENV)
	$(SERVE_ENV)/bin/pip install --quiet --constraint constraints.txt --editable ".[$(RUNTIME)]"
	touch $@

$(TEST_ENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(TEST_ENV)
	$(TEST_ENV)/bin/pip install --quiet --constraint constraints.txt --editable ".[$(RUNTIME),train,dev]"
	touch $@

$(TEST_ENV)/hourglass.onnx: $(TEST_ENV)/installed export/hourglass.py models/backbones/hourglass.py
	$(TEST_ENV)/bin/python -m export.hourglass --out $@
