# What a person types and what CI runs: the same words. `make` alone lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CARGO := cargo
TOOLCHAIN := $(shell sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)

# The stages of `make test`, in order: the cheap ones first.
STAGES := fmt lint layers unit doc chart trials

# What the stages need beside Rust, each as tool:package (the package that brings it on Debian).
NEEDS := cc:build-essential make:build-essential git:git \
    unshare:util-linux nsenter:util-linux setpriv:util-linux mount:mount ip:iproute2 \
    iptables:iptables conntrack:conntrack curl:curl flock:util-linux socat:socat \
    openssl:openssl runc:runc /usr/lib/cni/bridge:containernetworking-plugins

# What a Kubernetes of our own is made of, and what installs on it: directories in tools/go.
KUBERNETES := etcd kubernetes containerd helm

# The container image, and the target for which its program is linked with everything in it.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
IMAGE := target/image/remember.tar
STATIC := $(shell uname -m)-unknown-linux-gnu
# Addresses that are to be shifted at the start are listed in short: that list is in the memory of
# every sidecar.
STATICALLY := -C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs

# Crates that no pure layer may pull in. The full build must have each of IMPURE, so that a crate
# that is renamed cannot turn the proof into one that always passes.
IMPURE := tokio hyper hyper-util http-body-util serde serde_json clap tracing anyhow rustls rcgen \
    kube kube-client k8s-openapi schemars

# How many seeded runs `make soak` makes, and how many `make unit`, whose build is slow to run but
# quick to make; `make sim` makes as many as a change must pass, and tells all stories.
SEEDS ?= 100000
# The first of them.
FROM ?= 0
SEEDS_OF_UNIT := 5

# How often `make bench-cluster` takes the leader away; a fifth as many pods lose their disks, and a
# twentieth as often it scales. FIGURES names one of them: failover, replacement, scaling.
ROUNDS ?= 100
FIGURES ?=

# How many hostile inputs `make fuzz` tries on each surface, beginning with which seed.
INPUTS ?= 10000000
SEED ?= 1

.PHONY: help test $(STAGES) proofs cluster sim explore faults mutants machine deps soak model fuzz \
    tidy deny bench bench-deps bench-load clean bench-cluster image chart-deps cluster-deps \
    cluster-up cluster-down try

help: ## Lists these targets.
	@echo 'make TARGET, where TARGET is one of'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) \
	    | while IFS=$$'\t' read -r name text; do printf '  %-13s %s\n' "$$name" "$$text"; done
	@echo
	@echo 'make test runs these stages in order: $(STAGES).'

test: machine ## Everything that CI runs; stops at the first failure and says what to do.
	@times=; for stage in $(STAGES); do \
	    printf '\n==== %s ====\n' "$$stage"; \
	    begun=$$SECONDS; \
	    $(MAKE) "$$stage" || { \
	        printf '\nmake test stopped in its stage "%s". ' "$$stage" >&2; \
	        echo "Mend what is said above until 'make $$stage' passes, then run it again." >&2; \
	        exit 1; \
	    }; \
	    times+="$$stage $$((SECONDS - begun)) s, "; \
	done; \
	printf '\nmake test: all stages passed: %s.\n' "$${times%, }"

machine: ## Lists what this machine lacks; as root on Debian, installs it.
	@missing() { for need in $(NEEDS); do \
	    command -v "$${need%%:*}" >/dev/null \
	        || echo "missing: $${need%%:*}, which the package $${need##*:} brings"; \
	done; }; \
	if [[ -n "$$(missing)" ]]; then \
	    missing >&2; \
	    if [[ $$(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then \
	        echo "install them, or run 'make deps' as root on Debian" >&2; exit 1; \
	    fi; \
	    $(MAKE) deps; \
	    if [[ -n "$$(missing)" ]]; then missing >&2; exit 1; fi; \
	fi
	@command -v $(CARGO) >/dev/null || { \
	    echo 'missing: cargo; install rustup, which then brings Rust $(TOOLCHAIN) by itself' >&2; \
	    exit 1; \
	}
	@found=$$(rustc --version | cut -d' ' -f2 || true); [[ "$$found" == '$(TOOLCHAIN)' ]] || { \
	    echo "missing: Rust $(TOOLCHAIN) (found: $${found:-none});" \
	        "run 'rustup toolchain install' in this directory" >&2; \
	    exit 1; \
	}
	@for part in fmt clippy; do $(CARGO) $$part --version >/dev/null 2>&1 || { \
	    echo "missing: cargo $$part; run 'rustup component add rustfmt clippy'" >&2; exit 1; \
	}; done
	@go=$$(command -v go || echo /usr/local/go/bin/go); \
	found=$$($$go env GOVERSION 2>/dev/null || true); \
	[[ "$$found" =~ ^go1\.(2[6-9]|[3-9][0-9]) ]] || { \
	    echo "missing: Go 1.26 or newer (found: $${found:-none}), which builds the Kubernetes that" \
	        "the tests run on; install it from your distribution or from go.dev" >&2; \
	    exit 1; \
	}

deps: ## Installs the Debian packages that the tests need (as root).
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
	    $(sort $(foreach need,$(NEEDS),$(lastword $(subst :, ,$(need)))))

fmt: ## Says whether the code is formatted; `cargo fmt` mends it.
	$(CARGO) fmt --check

lint: ## Clippy on all layers and on the pure ones alone; a warning is an error.
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --test simulation --test model --test labelling --test faults \
	    --test chart --test cluster -- -D warnings
	$(CARGO) clippy --locked --lib --no-default-features -- -D warnings

layers: ## Proves that the pure layers build without runtime, HTTP or Kubernetes.
	$(CARGO) check --locked --lib --no-default-features
	@tree='tree --locked --edges normal,no-proc-macro --prefix none'; \
	pulled() { $(CARGO) $$tree "$$@" | cut -d' ' -f1 | sort -u; }; \
	pure=$$(pulled --no-default-features); \
	full=$$(pulled); \
	for crate in $(IMPURE); do \
	    grep -qx "$$crate" <<<"$$full" || { \
	        echo "the full build has no crate '$$crate': correct IMPURE in the Makefile" >&2; \
	        exit 1; \
	    }; \
	done; \
	for crate in $(IMPURE); do \
	    if grep -qx "$$crate" <<<"$$pure"; then \
	        echo "the pure layers pull in '$$crate': make it optional, behind 'full'" >&2; \
	        exit 1; \
	    fi; \
	done; \
	echo "the pure layers pull in $$(wc -l <<<"$$pure") of $$(wc -l <<<"$$full") crates," \
	    'no runtime, no HTTP and no Kubernetes among them'

unit: ## Tests of the modules, of whole nodes, of the documents, of the repository itself.
	$(CARGO) test --locked
	REMEMBER_SEEDS=$(SEEDS_OF_UNIT) REMEMBER_SCENARIO='everything at once' \
	    $(CARGO) test --locked --test simulation

sim: ## The seeded simulation of a cluster; a failing seed prints its story.
	$(CARGO) test --locked --profile sim --no-default-features --test simulation

# Faults wait most of the time, and have deadlines: they do not yield to others, as the rest does.
proofs: ## Simulation, model check, mutants and faults, the last ones beside the others.
	$(CARGO) test --locked --profile sim --no-default-features --test simulation --test model \
	    --test labelling --no-run
	$(CARGO) test --locked --test faults --no-run
	tools/beside target/faults.log $(MAKE) faults -- $(MAKE) sim explore mutants

# Stories wait as well, and come first where both want to run.
trials: ## The stories on a real Kubernetes, and the proofs beside them.
	tools/beside target/proofs.log tools/yielding $(MAKE) proofs -- $(MAKE) cluster

explore: ## Every order of events in small worlds; the shortest way to a broken rule.
	$(CARGO) test --locked --profile sim --no-default-features --test model --test labelling

faults: ## Five real nodes under REMEMBER_FAULTS (200) faults; as root, in namespaces of its own.
	$(CARGO) test --locked --test faults

mutants: ## Plants bugs into a copy of the sources, and demands that each is caught.
	$(CARGO) test --locked --test mutants

chart: chart-deps ## The chart: what helm renders of it and refuses, and that its copies are fresh.
	$(CARGO) test --locked --test chart

cluster: image cluster-deps ## Stories on a real Kubernetes that this starts and ends; as root.
	$(CARGO) test --locked --test cluster

image: machine ## The container image, an archive for ctr, podman, kind and docker: target/image/.
	RUSTFLAGS='$(STATICALLY)' $(CARGO) build --locked --release --target $(STATIC)
	tools/image remember:$(VERSION) target/$(STATIC)/release/remember $(IMAGE)

chart-deps: ## Builds helm from its pinned Go module, into the cache: 2 minutes at first.
	tools/go/build helm

cluster-deps: ## Builds Kubernetes from pinned Go modules, into the cache: 10 minutes at first.
	tools/go/build $(KUBERNETES)

cluster-up: machine cluster-deps ## A Kubernetes of three nodes here, without Docker; as root.
	tools/cluster/up

try: ## A tour of all this on the cluster of cluster-up, or on that of KUBECONFIG.
	tools/try

cluster-down: ## Ends it and removes all of it but the cached programs.
	tools/cluster/down

soak: ## The simulation with SEEDS=n seeds, FROM=m on, for as long as that takes.
	REMEMBER_FROM=$(FROM) REMEMBER_SEEDS=$(SEEDS) \
		$(CARGO) test --locked --profile sim --no-default-features --test simulation

model: ## The worlds of nodes of `make explore`, some of them with wider bounds: some minutes.
	REMEMBER_BOUNDS=wide $(CARGO) test --locked --profile sim --no-default-features --test model

fuzz: ## INPUTS=n hostile inputs on each surface: bytes of peers, data directories, HTTP.
	for test in '--test wire no_input_breaks' '--test storage no_directory_breaks' \
	    '--lib hostile_requests'; do \
	    REMEMBER_FUZZ_INPUTS=$(INPUTS) REMEMBER_FUZZ_SEED=$(SEED) \
	        $(CARGO) test --locked --profile sim $$test -- --nocapture; \
	done

doc: ## The documentation of the code; a broken link is an error.
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps

tidy: ## The tests of the repository itself: layering, limits, links, words, licences.
	$(CARGO) test --locked --test tidy

deny: ## Licences, bans and sources of all dependencies, by cargo-deny (installed if missing).
	@command -v cargo-deny >/dev/null || [[ -x .cache/tools/bin/cargo-deny ]] \
	    || CARGO_TARGET_DIR=.cache/target $(CARGO) install --locked --root .cache/tools cargo-deny
	PATH="$(CURDIR)/.cache/tools/bin:$$PATH" $(CARGO) deny check licenses bans sources

bench: bench-deps ## Measures everything beside etcd: 35 minutes; nothing else should run.
	$(CARGO) build --locked --release
	tools/bench target/release/remember target/bench

bench-deps: ## Builds etcd and its benchmark from pinned Go modules, into the cache.
	tools/go/build etcd etcd-benchmark

bench-cluster: image cluster-deps ## Failover and changes of members on a real Kubernetes; as root.
	REMEMBER_FIGURES=$(ROUNDS) REMEMBER_STORY=$(FIGURES) $(CARGO) test --locked --test cluster

bench-load: ## Half an hour of full write load; fails if the leader changes.
	$(CARGO) build --locked --release
	target/release/remember bench write --clients 256 --seconds 1800

clean: ## Removes everything that was built.
	rm -rf target .cache
