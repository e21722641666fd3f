# The two targets to know: `make run` and `make test`.  `make help` lists the others.
#
# Everything is made under build/: plain/ runs, asan/ and tsan/ are the same sources under a
# sanitizer, venv/ holds the test tools, clients/ the client libraries that the tests drive.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
MAKEFLAGS   += --no-print-directory
.DEFAULT_GOAL := help

PLAIN   := build/plain
ASAN    := build/asan
TSAN    := build/tsan
VENV    := build/venv
CLIENTS := build/clients
DAEMON  := $(PLAIN)/daemon/hubcached

# What the build needs, and what the tests need on top: Debian's names.
BUILD_PACKAGES := gcc libc6-dev meson ninja-build pkg-config libmicrohttpd-dev \
                  libcurl4-openssl-dev libsqlite3-dev libuv1-dev libyaml-dev libjansson-dev \
                  libssl-dev libgnutls28-dev libxxhash-dev ca-certificates
TEST_PACKAGES  := libcmocka-dev python3 python3-venv curl git git-lfs wget aria2 openssl
LINT_PACKAGES  := clang-format python3
BENCH_PACKAGES := nginx-light iproute2 python3 python3-venv

# Warnings are errors where nobody watches, and only there: a newer compiler must not stop a user.
ifeq ($(CI),true)
WERROR := -Dwerror=true
else
WERROR := -Dwerror=false
endif

# pytest and what it needs; every test ends by itself or is ended.
PYTEST_PACKAGES := pytest==8.3.5 pytest-timeout==2.3.1

ARGS        ?=
PYTEST_ARGS ?=
CHECKOUT    ?=

## run: build hubcached and start it; ARGS="--listen 0.0.0.0:8090" is passed on
.PHONY: run
run: build
	exec $(DAEMON) serve $(ARGS)

## build: build it (build/plain/daemon/hubcached)
.PHONY: build
build: packages-build
	@$(call configure,$(PLAIN),)
	ninja -C $(PLAIN) --quiet

## test: unit tests under ASan and UBSan, lint, integration tests; TESTED=asan runs the latter
##       against the sanitized daemon, PYTEST_ARGS="-k resolve" picks some
.PHONY: test
test: packages-test
	@$(call configure,$(PLAIN),)
	$(call configure,$(ASAN),$(SANITIZED))
	ninja -C $(PLAIN) --quiet
	ninja -C $(ASAN) --quiet
	echo "== unit tests (ASan, UBSan) and lint"
	meson test -C $(ASAN) --no-rebuild --print-errorlogs --suite unit
	meson test -C $(PLAIN) --no-rebuild --print-errorlogs --suite lint
	$(call integration,$(or $(TESTED),plain))

## unit: only the unit tests, under ASan and UBSan
.PHONY: unit
unit: packages-test asan
	@meson test -C $(ASAN) --no-rebuild --print-errorlogs --suite unit

## integration: only the integration tests
.PHONY: integration
integration: packages-test build
	@$(call integration,$(or $(TESTED),plain))

## suite: huggingface_hub's own tests at the Hub for tests, through the daemon; CHECKOUT=… names a
##        checkout of theirs, ARGS="--direct" leaves the daemon out, ARGS="tests/test_lfs.py" picks some
.PHONY: suite
suite: packages-test build
	@[[ -n "$(CHECKOUT)" ]] || { echo "CHECKOUT=… must name a checkout of huggingface_hub" >&2; exit 2; }
	exec tests/suite/run $(CHECKOUT) $(ARGS)

## bench: measure beside nginx, olah and no cache (installs nginx); ARGS="--quick" is passed on
.PHONY: bench
bench: packages-bench build
	@exec tests/bench/run $(DAEMON) $(ARGS)

## lint: format, includes, banned calls, tables
.PHONY: lint
lint: packages-lint
	@python3 tests/lint/lint.py .

## format: let clang-format lay out every C file
.PHONY: format
format: packages-lint
	@find daemon proto storage config tests -name '*.[ch]' -print0 | xargs -0 clang-format -i

## asan: the build under AddressSanitizer and UBSan (build/asan)
.PHONY: asan
asan: packages-build
	@$(call configure,$(ASAN),$(SANITIZED))
	ninja -C $(ASAN) --quiet

## tsan: the build under ThreadSanitizer, and its unit tests
.PHONY: tsan
tsan: packages-test
	@$(call configure,$(TSAN),-Db_sanitize=thread -Db_lundef=false -Doptimization=1)
	ninja -C $(TSAN) --quiet
	meson test -C $(TSAN) --no-rebuild --print-errorlogs --suite unit

## install: install the program, its unit and the example configuration (DESTDIR is honoured)
.PHONY: install
install: build
	@meson install -C $(PLAIN) --no-rebuild

## clean: remove build/
.PHONY: clean
clean:
	@rm -rf build

## help: this list
.PHONY: help
help:
	@sed -n 's/^## //p' Makefile

# ---- How ----

, := ,
# $(1) directory, $(2) options.  An existing directory keeps its own; ninja notices changed files.
define configure
[[ -f $(1)/build.ninja ]] || meson setup $(1) $(2) $(WERROR) >$(1).log 2>&1 || { cat $(1).log; exit 1; }
endef

SANITIZED := -Db_sanitize=address$(,)undefined -Db_lundef=false -Doptimization=1 -Dcrash_points=true

# $(1) the build whose daemon is tested: plain, asan or tsan.  The tests find it in HUBCACHED,
# and the client libraries in the variables that clients.sh writes.
define integration
[[ -x $(VENV)/bin/pytest ]] || python3 -m venv $(VENV)
$(VENV)/bin/pip install --quiet --disable-pip-version-check $(PYTEST_PACKAGES)
tests/support/clients.sh $(CLIENTS)
set -a
. $(CLIENTS)/env
HUBCACHED="$(CURDIR)/build/$(1)/daemon/hubcached"
ASAN_OPTIONS="detect_leaks=1:abort_on_error=1"
UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1"
set +a
echo "== integration tests against build/$(1)"
$(VENV)/bin/pytest -q -p no:cacheprovider --timeout=300 tests/hub tests/integration $(PYTEST_ARGS)
endef

# Installs the packages that are not there.  Only Debian and its relatives are served; elsewhere
# the names are shown and the build is tried as it is.
define install_packages
mkdir -p build
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	missing=()
	for tool in cc meson ninja pkg-config; do command -v "$$tool" >/dev/null || missing+=("$$tool"); done
	if (($${#missing[@]})); then
		echo "hubcached is built on Debian 12.  On this system, please install what corresponds to:" >&2
		echo "  $(strip $(1))" >&2
		exit 1
	fi
	exit 0
fi
missing=()
for package in $(1); do
	[[ $$(dpkg-query -W -f '$${Status}' "$$package" 2>/dev/null) == *" installed" ]] || missing+=("$$package")
done
if ((!$${#missing[@]})); then exit 0; fi
echo "== installing: $${missing[*]}"
sudo=()
if ((EUID != 0)); then sudo=(sudo); fi
"$${sudo[@]}" apt-get update -qq
"$${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	"$${missing[@]}" </dev/null >build/apt.log 2>&1 || { cat build/apt.log >&2; exit 1; }
endef

.PHONY: packages-build packages-test packages-lint packages-bench
packages-build:
	@$(call install_packages,$(BUILD_PACKAGES))
packages-test:
	@$(call install_packages,$(BUILD_PACKAGES) $(TEST_PACKAGES) $(LINT_PACKAGES))
packages-lint:
	@$(call install_packages,$(LINT_PACKAGES))
packages-bench:
	@$(call install_packages,$(BUILD_PACKAGES) $(BENCH_PACKAGES))
