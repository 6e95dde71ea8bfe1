# RUNTIME chooses what the service computes with; they exclude each other. cpu, plain onnxruntime, works anywhere;
# openvino needs x86-64 Linux and is there 1.1 to 5 times as fast; gpu needs CUDA. An environment holds one of them.
RUNTIME ?= $(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),openvino,cpu)
PYTHON ?= python3
SERVE_ENV := .venv-serve
TEST_ENV := .venv
TARGET ?= cpu
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

.PHONY: help serve test lint train bench peers table4 image sbom dashboards clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: $(SERVE_ENV)/$(RUNTIME) ## install the service and run it on http://127.0.0.1:8000
	$(SERVE_ENV)/bin/dsnt-pose serve $(ARGS)

test: lint ## everything that CI checks
	$(TEST_ENV)/bin/python -m pytest $(ARGS)

lint: $(TEST_ENV)/$(RUNTIME) ## ruff and mypy --strict
	$(TEST_ENV)/bin/ruff check .
	$(TEST_ENV)/bin/ruff format --check .
	$(TEST_ENV)/bin/mypy

train: $(TEST_ENV)/$(RUNTIME) ## train: make train ARGS="--data PACK --start WEIGHTS --out RUN"
	$(TEST_ENV)/bin/python -m models.training $(ARGS)

bench: $(TEST_ENV)/$(RUNTIME) ## how fast the service is and what it spends, in 12 minutes
	$(TEST_ENV)/bin/python -m tests.benchmarks raw path load plot $(ARGS)

peers: $(TEST_ENV)/$(RUNTIME) ## the same network behind other servers, in 10 minutes
	$(TEST_ENV)/bin/python -m tests.benchmarks peers plot $(ARGS)

table4: $(SERVE_ENV)/$(RUNTIME) $(TEST_ENV)/hourglass.onnx ## the paper's Table 4 on this machine, with an 8-stack hourglass beside ours
	$(SERVE_ENV)/bin/dsnt-pose report
	$(SERVE_ENV)/bin/python -m tests.benchmarks.hourglass $(TEST_ENV)/hourglass.onnx

image: ## build the container image dsnt-pose:cpu, or with TARGET=gpu the other one
	DOCKER_BUILDKIT=1 docker build --file docker/Dockerfile --target $(TARGET) --tag dsnt-pose:$(TARGET) \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD) \
		--build-arg RUNTIME=$(RUNTIME) --build-arg PIP_INDEX_URL --build-arg PIP_TRUSTED_HOST $(ARGS) .

sbom: $(SERVE_ENV)/$(RUNTIME) $(TEST_ENV)/$(RUNTIME) ## list the Python packages of the service in dist/sbom-RUNTIME.json (CycloneDX)
	mkdir -p dist
	$(TEST_ENV)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file dist/sbom-$(RUNTIME).json $(SERVE_ENV)/bin/python

dashboards: $(TEST_ENV)/$(RUNTIME) ## write Grafana's dashboards from docker/grafana/dashboards.py
	$(TEST_ENV)/bin/python docker/grafana/dashboards.py

clean: ## remove the environments
	rm -rf .venv .venv-*

$(SERVE_ENV)/$(RUNTIME): pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(SERVE_ENV)
	$(SERVE_ENV)/bin/pip install --quiet --constraint constraints.txt --editable ".[$(RUNTIME)]"
	touch $@

$(TEST_ENV)/$(RUNTIME): pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(TEST_ENV)
	$(TEST_ENV)/bin/pip install --quiet --constraint constraints.txt --editable ".[$(RUNTIME),train,dev]"
	touch $@

$(TEST_ENV)/hourglass.onnx: $(TEST_ENV)/$(RUNTIME) export/hourglass.py models/networks/hourglass.py
	$(TEST_ENV)/bin/python -m export.hourglass --out $@
