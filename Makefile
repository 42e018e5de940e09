# SPDX-License-Identifier: GPL-2.0-or-later
#
# Every command a person needs; the work is done by scripts/.
#
# Variables: QEMU_SRC=<tree> LINUX_SRC=<tree> LIBVIRT_SRC=<tree>  build with your
# own sources, which are only read;  T=<pattern>  run only the tests whose name matches;
# JOBS=<n>;  V=1  show what the tools say;  FUZZ_SECONDS=<n>  how long to fuzz;
# KERNELS="6.1 6.12"  which kernels;  SKIP_KERNELS="7.2"  which not, in tests;
# ROUNDS=<n> WAYS=<regex> WORKLOADS=<regex>  what bench-swap runs;  WAYS=<regex>
# PHASE=<seconds> LIMIT=<MiB> JOB=<MiB> ...  what demo-overcommit does, see
# tests/bench/overcommit-ways.sh.

export QEMU_SRC LINUX_SRC LIBVIRT_SRC T JOBS V FUZZ_SECONDS SKIP_KERNELS

KERNELS ?= 5.10 6.1 6.12 7.2

# One sub-build at a time, each with all the processors.
.NOTPARALLEL:

.PHONY: help
help: ## list the targets
	@sed -n -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 26
	@sed -n '/^# Variables/,/^$$/s/^# \{0,1\}/  /p' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## install (or name) the packages that all of this needs
	@scripts/deps.sh source qemu linux libvirt tools demo spec check

.PHONY: qemu
qemu: ## build QEMU with the device: build/qemu/qemu-system-x86_64
	@scripts/deps.sh source qemu
	@scripts/build-qemu.sh qemu-system-x86_64

.PHONY: linux
linux: ## build Linux 6.1 with the driver: build/linux/arch/x86/boot/bzImage
	@scripts/deps.sh source linux
	@scripts/build-linux.sh

.PHONY: libvirt
libvirt: ## build libvirt with <tmem>, to be tried from build/libvirt: src/libvirtd, tools/virsh
	@scripts/deps.sh source libvirt
	@scripts/build-libvirt.sh

.PHONY: guest
guest: linux ## build the initramfs of the demo and the tests
	@scripts/deps.sh demo
	@$(MAKE) -s --no-print-directory -C tests/guest O=$(abspath build)/guest

.PHONY: modules
modules: ## build the driver as a module: build/module/KERNEL/virtio_tmem.ko
	@scripts/deps.sh source linux
	@for kernel in $(KERNELS); do scripts/build-module.sh $$kernel || exit; done

.PHONY: series
series: ## the work as patch series to send: build/series/{qemu,linux} (SIGNOFF="Name <mail>")
	@scripts/deps.sh source series
	@scripts/series.sh qemu
	@scripts/series.sh linux

.PHONY: deb
deb: qemu ## make Debian packages of all parts, for hosts and guests: build/deb
	@scripts/deps.sh tools
	@scripts/build-deb.sh

# Kernels that cannot be had are failures of their own tests.
.PHONY: kernels
kernels:
	@scripts/deps.sh source linux demo
	@for kernel in $(filter-out $(SKIP_KERNELS),$(KERNELS)); do scripts/build-guest.sh $$kernel || :; done

.PHONY: tools
tools: ## build tmemctl, for operators: build/tools/tmemctl (WITH_LIBVIRT=0 without libvirt)
	@scripts/deps.sh tools
	@$(MAKE) -s --no-print-directory -C tools O=$(abspath build)/tools

.PHONY: install
install: tools ## install tmemctl, its manual, units, dashboard: DESTDIR= prefix=/usr/local
	@$(MAKE) -s --no-print-directory -C tools O=$(abspath build)/tools install

.PHONY: spec
spec: ## build the specification chapter from its LaTeX source
	@scripts/deps.sh spec
	@$(MAKE) -s --no-print-directory -C spec O=$(abspath build)/spec

.PHONY: docs
docs: ## build the pages in QEMU's and the kernel's format: build/docs/index.html
	@scripts/deps.sh docs
	@scripts/build-docs.sh

.PHONY: demo
demo: qemu guest ## a guest swaps to disk, then into host memory: a table of both
	@scripts/demo.sh

.PHONY: demo-overcommit
demo-overcommit: qemu guest tools ## three guests, busy in turn, on a host too small for them; as root, 15 minutes
	@tests/bench/overcommit.sh

# What the tests need beyond the demo: QEMU's own test programs.
.PHONY: test-programs
test-programs: qemu guest kernels
	@scripts/deps.sh tools check spec libvirt
	@scripts/build-qemu.sh $(shell sed 's/#.*//' tests/qemu-targets)

.PHONY: check
check: test-programs ## all tests; T=pattern for some of them
	@tests/run

.PHONY: check-static
check-static: ## only the checks that need no guest: style, sparse, headers
	@scripts/deps.sh source qemu linux libvirt check spec
	@tests/run tests/check-*.sh

.PHONY: check-store
check-store: qemu ## only the page store: unit tests, sanitizers, fuzzer
	@scripts/deps.sh check
	@scripts/build-qemu.sh $(shell sed -n '/^tests.unit/p' tests/qemu-targets)
	@tests/run tests/qemu-store*.sh

.PHONY: check-debug
check-debug: qemu guest ## run the driver in kernels that look for bugs; takes hours without KVM
	@for kernel in delay kcsan kasan; do scripts/build-linux.sh $$kernel || exit; done
	@TIMEOUT=$${TIMEOUT:-14400} tests/run tests/debug/*.sh

.PHONY: check-tools
check-tools: ## only tmemctl: unit tests, mock guests, manual, metrics
	@scripts/deps.sh tools check demo
	@tests/run tests/tools-*.sh

.PHONY: check-libvirt
check-libvirt: qemu ## only the series for libvirt: libvirt's own tests, and a domain that starts
	@scripts/deps.sh source libvirt check
	@tests/run tests/check-libvirt.sh tests/e2e/libvirt-native.sh

.PHONY: fuzz
fuzz: qemu ## look for bugs in device and page store, with four fuzzers: FUZZ_SECONDS=600 for each
	@scripts/deps.sh check
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-600} TIMEOUT=$$((2 * $${FUZZ_SECONDS:-600} + 3600)) tests/run tests/qemu-store-fuzz.sh tests/fuzz/device.sh

.PHONY: coverage
coverage: qemu guest ## how many lines of driver, device and page store the tests run; an hour
	@scripts/deps.sh check
	@tests/coverage/report.sh

.PHONY: stress
stress: qemu guest ## five million pages compared, four times, while the limit moves; half an hour
	@TIMEOUT=7200 tests/run tests/stress/limit.sh

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

.PHONY: bench-tools
bench-tools: tools ## tmemctl stat of 100 guests, balance with hundreds: figures and plots
	@scripts/deps.sh check
	@tests/bench/tools.sh

.PHONY: bench-limit
bench-limit: qemu guest ## plot the limit over an episode of memory pressure
	@scripts/deps.sh check
	@mkdir -p build/bench
	@TEST_LOGS=build/bench tests/e2e/real-pressure.sh > build/bench/pressure.log || { cat build/bench/pressure.log; exit 1; }
	@scripts/limit-curve.sh build/bench/e2e-real-pressure.curve build/bench/limit.svg

.PHONY: bench-giveback
bench-giveback: qemu guest ## measure how fast memory comes back, and what others feel of it
	@tests/bench/giveback.sh

.PHONY: clean
clean: ## remove what was built, keep the sources
	@rm -rf $(filter-out build/src build/meson,$(wildcard build/*))

.PHONY: distclean
distclean: ## remove build/ (downloads stay in ~/.cache/virtio-tmem)
	@rm -rf build
