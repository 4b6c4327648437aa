# What a person or a machine does with this repository. `make demo` and `make test` need a Rust toolchain and nothing else.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
GROVE_FIXTURES ?= $(CURDIR)/.fixtures
export GROVE_FIXTURES

# Seconds that `make fuzz` gives each target.
FUZZ_SECONDS ?= 60

.PHONY: bench-ads bench-background bench-pair bench-sim bench-splice bench-swarm demo fuzz soak-kill test conformance fixtures setup lint build clean

## the whole story on this machine: publish, five viewers, ads, reports
demo: setup fixtures
	@echo "== compiling grove (the first time takes some minutes; the demo itself takes less than one)"
	$(CARGO) build --release --package grove
	@echo "== the demo"
	$(TARGET)/release/grove demo $(DEMO_ARGS)

## everything that must be true of a change
test: setup fixtures
	$(CARGO) test --workspace --no-fail-fast

## inputs that others wrote: make conformance CONFORMANCE=folder
conformance: setup
	@test -d "$(CONFORMANCE)" || { echo "conformance: give the folder, as in: make conformance CONFORMANCE=../shared/conformance" >&2; exit 2; }
	CONFORMANCE="$(abspath $(CONFORMANCE))" $(CARGO) test --workspace --features engine/conformance,ad-splicer/conformance \
	    --test conformance_cues --test conformance_metainfo --test conformance_vast

## an episode, creatives, a feed and campaigns, made from nothing into .fixtures
fixtures: setup
	@python3 fixtures/make_fixtures.py >/dev/null

## the Debian packages that are missing
setup:
	@fixtures/setup.sh

## decisions and beacons a second, SQLite and PostgreSQL, beside a static nginx; needs wrk
bench-ads: setup
	$(CARGO) build --release --package ad-server-mock
	ad-server-mock/bench.py $(TARGET)/release/ad-server-mock

## splicing beside cp and ffmpeg, and what ffmpeg hears of it; spectrograms are left in target/bench-splice
bench-splice: setup fixtures
	$(CARGO) build --release --package grove
	ad-splicer/bench.py $(TARGET)/release/grove $(GROVE_FIXTURES) $(TARGET)/bench-splice

## ten viewers at once beside libtorrent and aria2, in network namespaces (root; some minutes; a quiet machine)
bench-swarm: setup
	$(CARGO) build --release --package grove
	/usr/bin/python3 bench/swarm.py $(BENCH_ARGS)

## crowds of ten to ten thousand viewers, computed on a virtual clock; leaves a table and a plot in target/bench
bench-sim:
	$(CARGO) run --release --package simulator --example bench-sim -- --out $(TARGET)/bench $(BENCH_ARGS)

## 1 GiB from one seed and from four, beside libtorrent (root; a quiet machine)
bench-pair: setup
	$(CARGO) build --release --package grove
	/usr/bin/python3 bench/pair.py $(BENCH_ARGS)

## whether uploads give way to TCP behind a router that is full, and whether limits hold (root; a quiet machine)
bench-background: setup
	$(CARGO) build --release --package grove
	missed=0; /usr/bin/python3 bench/background.py $(BENCH_ARGS) || missed=1; /usr/bin/python3 bench/limits.py || missed=1; exit $$missed

## a minute of fuzzing for everything that strangers send: readers of files and messages, and the swarm core (any toolchain; without sanitizers)
fuzz: setup fuzz/Cargo.lock
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { echo "== installing cargo-fuzz"; $(CARGO) install cargo-fuzz --locked; }
	@echo "== compiling the fuzz targets (the first time takes ten minutes or more)"
	@$(CARGO) fuzz build --sanitizer none
	@found=; for target in $$($(CARGO) fuzz list); do \
	    echo "== fuzzing $$target for $(FUZZ_SECONDS) s"; \
	    $(CARGO) fuzz run --sanitizer none $$target -- -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 || found="$$found $$target"; \
	done; \
	test -z "$$found" || { echo "== something was found by:$$found; the inputs are in fuzz/artifacts" >&2; exit 1; }
	@echo "== nothing was found"

# Fuzzed with the versions that the product is built with; what only the targets use is added.
fuzz/Cargo.lock: Cargo.lock
	@cp Cargo.lock fuzz/Cargo.lock

## a download that is killed at a hundred random instants, from a seed and nginx on loopback, ends in the right file
soak-kill: setup
	$(CARGO) build --release --package grove
	/usr/bin/python3 bench/soak_kill.py $(SOAK_ARGS)

## what reviewers should not have to say
lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

build: setup
	$(CARGO) build --release --workspace

clean:
	rm -rf .fixtures .fixtures.lock
	$(CARGO) clean
