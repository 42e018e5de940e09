# SPDX-License-Identifier: GPL-2.0-or-later
#
# Every command a person needs; the work is done by scripts/.
#
# Variables: QEMU_SRC=<tree> LINUX_SRC=<tree>  build with your own sources,
# which are only read;  T=<pattern>  run only the tests whose name matches;
# JOBS=<n>;  V=1  show what the tools say;  FUZZ_SECONDS=<n>  how long to fuzz;
# ROUNDS=<n> WAYS=<regex> WORKLOADS=<regex>  what bench-swap runs.

export QEMU_SRC LINUX_SRC T JOBS V FUZZ_SECONDS

# One sub-build at a time, each with all the processors.
.NOTPARALLEL:

.PHONY: help
help: ## list the targets
	@sed -n -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 26
	@sed -n '/^# Variables/,/^$$/s/^# \{0,1\}/  /p' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## install (or name) the packages that all of this needs
	@scripts/deps.sh source qemu linux demo spec check

.PHONY: qemu
qemu: ## build QEMU with the device: build/qemu/qemu-system-x86_64
	@scripts/deps.sh source qemu
	@scripts/build-qemu.sh qemu-system-x86_64

.PHONY: linux
linux: ## build Linux 6.1 with the driver: build/linux/arch/x86/boot/bzImage
	@scripts/deps.sh source linux
	@scripts/build-linux.sh

.PHONY: guest
guest: linux ## build the initramfs of the demo and the tests
	@scripts/deps.sh demo
	@$(MAKE) -s --no-print-directory -C tests/guest O=$(abspath build)/guest

.PHONY: spec
spec: ## build the specification chapter from its LaTeX source
	@scripts/deps.sh spec
	@$(MAKE) -s --no-print-directory -C spec O=$(abspath build)/spec

.PHONY: demo
demo: qemu guest ## a guest swaps to disk, then into host memory: a table of both
	@scripts/demo.sh

# What the tests need beyond the demo: QEMU's own test programs.
.PHONY: test-programs
test-programs: qemu guest
	@scripts/deps.sh check spec
	@scripts/build-qemu.sh $(shell sed 's/#.*//' tests/qemu-targets)

.PHONY: check
check: test-programs ## all tests; T=pattern for some of them
	@tests/run

.PHONY: check-static
check-static: ## only the checks that need no guest: style, sparse, headers
	@scripts/deps.sh source qemu linux check spec
	@tests/run tests/check-*.sh

.PHONY: check-store
check-store: qemu ## only the page store: unit tests, sanitizers, fuzzer
	@scripts/deps.sh check
	@scripts/build-qemu.sh $(shell sed -n '/^tests.unit/p' tests/qemu-targets)
	@tests/run tests/qemu-store*.sh

.PHONY: fuzz
fuzz: qemu ## look for bugs in the page store: FUZZ_SECONDS=600
	@scripts/deps.sh check
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-600} TIMEOUT=$$((FUZZ_SECONDS + 1200)) tests/run tests/qemu-store-fuzz.sh

.PHONY: check-clean
check-clean: ## all tests in an empty Debian 12, as .ci/run does
	@.ci/run

.PHONY: bench
bench: bench-store bench-swap bench-instructions bench-compile bench-limit ## measure all: tables, JSON and plots in build/bench

.PHONY: bench-store
bench-store: ## measure the page store by itself
	@scripts/deps.sh source qemu demo
	@scripts/build-qemu.sh tests/bench/tmem-store-bench
	@mkdir -p build/bench
	@build/qemu/tests/bench/tmem-store-bench --json build/bench/store.json
	@scripts/bench-report.sh build/bench/store.json

.PHONY: bench-swap
bench-swap: qemu guest ## measure a guest that swaps, in each way that there is
	@tests/bench/swap.sh

.PHONY: bench-instructions
bench-instructions: qemu guest ## count the instructions of the driver for each operation
	@tests/bench/instructions.sh

.PHONY: bench-compile
bench-compile: qemu guest ## measure a compiler in a guest that swaps
	@scripts/deps.sh source bench
	@tests/bench/compile.sh

.PHONY: bench-limit
bench-limit: qemu guest ## plot the limit over an episode of memory pressure
	@scripts/deps.sh check
	@mkdir -p build/bench
	@TEST_LOGS=build/bench tests/e2e/real-pressure.sh > build/bench/pressure.log || { cat build/bench/pressure.log; exit 1; }
	@scripts/limit-curve.sh build/bench/e2e-real-pressure.curve build/bench/limit.svg

.PHONY: clean
clean: ## remove what was built, keep the sources
	@rm -rf $(filter-out build/src build/meson,$(wildcard build/*))

.PHONY: distclean
distclean: ## remove build/ (downloads stay in ~/.cache/virtio-tmem)
	@rm -rf build
