# Everything here works from a fresh clone. What is built lies outside of it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Where `make setup` puts a Rust that is not there yet.
export PATH := $(PATH):$(HOME)/.cargo/bin
export CARGO_TARGET_DIR ?= $(HOME)/.cache/senren/target

RELEASE := $(CARGO_TARGET_DIR)/release
PLUGINS := plugins/redis plugins/aerospike plugins/template
FILE ?= examples/quickstart.yaml

.PHONY: help
help: ## Shows this
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

.PHONY: demo
demo: release plugins ## Runs `senren dev` on examples/quickstart.yaml (FILE=… another file, ONCE=1 ends by itself)
	@exec $(RELEASE)/senren dev $(FILE) $(if $(ONCE),--once)

.PHONY: release
release: setup ## Builds the binary, optimised
	cargo build --release --locked -p senren -p senren-plugin-build

.PHONY: plugins
plugins: release ## Builds the plugins, to where `senren dev` finds them
	@scripts/wasm-target
	$(RELEASE)/senren-plugin-build --out $(RELEASE)/plugins $(PLUGINS)

.PHONY: test
test: ## Format, lints and all tests that need nothing but PostgreSQL and Redis from packages
	@scripts/setup test
	@scripts/wasm-target
	@scripts/test

.PHONY: e2e
e2e: ## The tests on real engines: Kafka, Kubernetes, PostgreSQL (started, unless the environment names them)
	@scripts/setup e2e
	@scripts/wasm-target
	@scripts/e2e

.PHONY: bench
bench: release plugins ## Measures what has a goal: a table, and bench.json
	@scripts/bench

.PHONY: bench-e2e
bench-e2e: release plugins ## Measures the walk on the real engines, and adds it to bench.json
	@scripts/setup e2e
	@SENREN_BIN=$(RELEASE)/senren PLUGIN_DIR=$(RELEASE)/plugins tests/kafka/start -- scripts/bench engines

.PHONY: setup
setup: ## Installs or finds what a demo needs: PostgreSQL, Redis, bubblewrap, build tools
	@scripts/setup
