# SPDX-License-Identifier: Apache-2.0
# The front door. Meson does the work; `make help` lists what there is.

BUILD  := build
PYTHON := /usr/bin/python3
T      := 60

all: $(BUILD)/godwit ## build build/godwit (installs what is missing)

# Always asks ninja, which knows best whether anything is to be done.
$(BUILD)/godwit: FORCE
	@tools/setup build
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD)
	@ninja -C $(BUILD) src/bin/godwit

demo: ## a live Redis moves under load, with proof; about a minute
	@tools/setup demo
	@$(MAKE) --no-print-directory all
	@$(PYTHON) demo/demo.py

demo-postgres: ## PostgreSQL 15 becomes the newest under load, with proof; about a minute
	@tools/setup demo-postgres
	@tools/servers postgres-18 || echo "demo: no PostgreSQL 18 here; the newest at hand is taken" >&2
	@$(MAKE) --no-print-directory all
	@$(PYTHON) demo/postgres.py

test: all ## unit tests
	@tools/setup test
	@ninja -C $(BUILD)
	@meson test -C $(BUILD) --no-rebuild --print-errorlogs

live: all ## tests with real servers (K=word: only those)
	@tools/setup test
	@ninja -C $(BUILD)
	@GODWIT_BIN=$(CURDIR)/$(BUILD)/godwit $(PYTHON) -m pytest -ra \
		$(if $(K),-k '$(K)') tests/live

check: ## what CI does: static checks, unit, fuzz corpus, live and ASan by sample
	@tools/setup
	@tools/check.py

check-full: ## every test in both builds, whole sweeps, other versions, fuzzing
	@tools/setup
	@FULL=1 tools/check.py --full

check-tsan: ## live and unit tests under ThreadSanitizer: half a day
	@tools/setup
	@tools/check.py setup build-tsan oracle-tsan postgres-tsan unit-tsan live-tsan

model: ## the model of the switch, by spin (L=--full: the large runs as well)
	@tools/setup test
	@tools/model.py $(L)

fuzz: ## T=60 seconds of libFuzzer for C=target (all targets without C)
	@tools/setup test
	@tools/fuzz.py --time $(T) $(C)

bench: all ## side by side with direct access, twemproxy and HAProxy
	@tools/setup bench
	@bench/run.sh

format: ## rewrite the sources in house format
	@clang-format-14 -i $$(git ls-files 'src/*.[ch]' 'tests/*.[ch]')

docs: ## render tables/*.tbl to docs/reference
	@tools/tables.py

clean: ## remove what was built
	@rm -rf build build-asan build-tsan build-fuzz

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{ printf "make %-11s %s\n", $$1, $$2 }' \
		$(firstword $(MAKEFILE_LIST))

FORCE:
.PHONY: all demo demo-postgres test live check check-full check-tsan model fuzz bench format docs clean help \
	FORCE
