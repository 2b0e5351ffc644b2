# Short names for the usual steps; the build itself is CMakeLists.txt, the configurations CMakePresets.json.
# Parallelism inside a step is Ninja's.
.NOTPARALLEL:
.DEFAULT_GOAL := all

FUZZ_SECONDS ?= 60
TIDEMILL_WERROR ?= OFF
CONFIGURE = cmake -DTIDEMILL_WERROR=$(TIDEMILL_WERROR) --log-level=WARNING --preset
BUILD = cmake --build --preset

.PHONY: all setup setup-test setup-clients web demo test test-quick test-clients bench bench-kafka bench-sql fuzz fuzz-sql asan tsan tidy format clean help

all: setup web ## build build/tidemill (installs missing Debian packages first)
	@$(CONFIGURE) release >/dev/null
	@$(BUILD) release --target tidemill

setup: ## install the Debian packages that the build needs
	@tools/setup build

setup-test: ## install the Debian packages that the tests need
	@tools/setup test

setup-clients: ## install the Debian packages that the tests with Kafka clients need
	@tools/setup clients

web: setup ## build the dashboard (web/dist) when its sources changed
	@tools/web-build

demo: all ## build and run the demo; options by ARGS, e.g. make demo ARGS=--once
	@build/tidemill demo $(ARGS)

test: setup-test web ## every test suite; ends with "N passed, N failed"
	@TIDEMILL_WERROR=$(TIDEMILL_WERROR) tools/test

test-quick: setup-test web ## tidy, unit and SQL tests of the release build only
	@TIDEMILL_WERROR=$(TIDEMILL_WERROR) tools/test --quick

test-clients: setup-clients web ## Kafka clients in Java, Go, JavaScript and Python; needs package registries
	@TIDEMILL_WERROR=$(TIDEMILL_WERROR) tools/test clients

bench: setup web ## build and run every benchmark of bench/, or those of ARGS, e.g. make bench ARGS=latency
	@$(CONFIGURE) release >/dev/null
	@$(BUILD) release
	@tools/bench $(ARGS)

bench-kafka: all setup-clients ## Tidemill beside Apache Kafka; ARGS=quick for a short run
	@bench/kafka/run.py $(ARGS)

bench-sql: all setup-clients ## Tidemill's SQL beside Apache Flink and DuckDB; ARGS=quick for a short run
	@bench/sql/run.py $(ARGS)

fuzz: setup-test ## fuzz each target for FUZZ_SECONDS (60)
	@$(CONFIGURE) fuzz >/dev/null
	@$(BUILD) fuzz
	@tools/fuzz --seconds $(FUZZ_SECONDS) $(ARGS)

fuzz-sql: all setup-test ## random queries and their views against PostgreSQL 15; ARGS as test/fuzz_sql/run.py
	@test/fuzz_sql/run.py $(ARGS)

asan: setup-test ## unit tests and fuzz corpus under the address and undefined sanitizers
	@tools/test asan

tsan: setup-test ## the threaded tests under the thread sanitizer
	@tools/test tsan

tidy: setup ## the rules that a machine can check
	@tools/tidy

format: setup-test ## lay out the C files that differ from the last commit
	@git diff --name-only --diff-filter=d HEAD -- '*.c' '*.h' | xargs -r clang-format-14 -i

clean: ## remove what was built, but not the downloaded npm packages
	rm -rf build web/dist

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile
