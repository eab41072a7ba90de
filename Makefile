# faultctl: `make demo` shows it, `make test` proves it, `make help` lists the
# rest. demo and test need Go, make and a C compiler (for the race detector) and
# set up everything else. Neither needs root: without it they run in their own
# namespaces.

GO      ?= go
PREFIX  ?= /usr/local
PKGS    := ./...
FUZZFOR ?= 20s
GOTEST  ?= # extra flags for `make test`: -p 1 runs one package at a time
VERSION ?= $(shell git describe --tags --match 'v*' --dirty 2>/dev/null || echo v0.0.0-$$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown))
STAMP   := -X github.com/faultctl/faultctl/internal/version.stamp=$(VERSION)

.PHONY: help install dist package check-package check-image image build demo deps test fidelity holdout bugs lint fuzz bench docs cover clean kubectl-plugin test-kubernetes check-kubernetes

build: ## the binary, ./faultctl
	$(GO) build -o faultctl .

install: build ## install faultctl, in /usr/local/bin or in $(PREFIX)/bin
	install -D -m 755 faultctl $(DESTDIR)$(PREFIX)/bin/faultctl

help: ## these targets
	@awk -F ':.*?## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## two hosts, a client, a server, and a connection that dies
	./faultctl demo

deps: ## install what the tests need besides Go and a C compiler (as root), or list what is missing
	integration/deps.sh

test: ## every test, with the race detector
	$(GO) test -race -count=1 -timeout 20m $(GOTEST) $(PKGS)

fidelity: ## every fault beside its genuine cause, from every vantage point; writes docs/FIDELITY.md
	$(GO) test -race -count=1 -timeout 20m ./integration/fidelity -update

holdout: ## what explain says of other programs' captures; writes its part of docs/EXPLAIN.md
	$(GO) test -count=1 ./integration/holdout -update

bugs: ## every public bug report of docs/BUGS.md, three times over
	FAULTCTL_BUGS=3 $(GO) test -count=1 -timeout 20m ./integration/clients -run TestBugs -v

lint: ## gofmt, vet, staticcheck
	@test -z "$$(gofmt -l .)" || { echo "gofmt these files:"; gofmt -l .; exit 1; }
	$(GO) vet $(PKGS)
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.7.0 $(PKGS)

fuzz: ## every reader of foreign bytes on random ones, FUZZFOR each
	@grep -rn --include='*_test.go' --exclude-dir=kubernetes '^func Fuzz' . | sed 's,^\./\(.*\)/[^/]*:[0-9]*:func \(Fuzz[A-Za-z]*\).*,\1 \2,' | while read dir name; do \
		echo "$$dir $$name"; $(GO) test ./$$dir -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZFOR) -fuzzminimizetime 100x || exit 1; \
	done
	$(GO) test ./explain/capture -run 'TestDamaged|TestConversations' -inputs 300000 -v

.PHONY: chaos soak
chaos: ## harm N instances from outside (N=1000); writes docs/RELIABILITY.md
	$(GO) run ./integration/chaos -n $(or $(N),1000)

soak: ## one instance under load for D (D=1h); writes docs/RELIABILITY.md
	$(GO) run ./integration/chaos -soak $(or $(D),1h)

bench: ## what faultctl costs, compared with alternatives; writes docs/PERFORMANCE.md
	$(GO) run ./integration/bench

.PHONY: toxiproxy
toxiproxy: ## a hundred thousand random calls, answered by Toxiproxy's server and by ours
	$(GO) test ./integration/toxiproxy -count=1 -v -timeout 60m -calls 100000 -seed $$(date +%s)

docs: build fidelity ## the pages that are generated from the code
	$(GO) test ./cli -run 'TestCataloguePage|TestScenarioPages' -update
	$(GO) test ./experiment/event -run 'TestEventsPage$$' -update
	$(GO) test ./integration/clients -count=1 -update
	$(GO) run ./integration/pictures

cover: ## test coverage, counted across packages
	$(GO) test -coverpkg=./faults/...,./injector/...,./cli/... -coverprofile=cover.prof $(PKGS)
	$(GO) tool cover -func=cover.prof | tail -1

dist: ## a static binary, its man pages and completions, in dist/
	rm -rf dist && mkdir -p dist/man dist/completions
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w $(STAMP)" -o dist/faultctl .
	dist/faultctl __man dist/man && gzip -9n dist/man/*
	dist/faultctl completion bash >dist/completions/faultctl.bash
	dist/faultctl completion zsh >dist/completions/_faultctl
	dist/faultctl completion fish >dist/completions/faultctl.fish
	echo "$(VERSION)" >dist/version

package: dist ## the deb and the rpm, in dist/
	for kind in deb rpm; do \
		VERSION=$(VERSION) GOARCH=$$($(GO) env GOARCH) $(GO) run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2 \
			package --config packaging/nfpm.yaml --packager $$kind --target dist/ || exit 1; \
	done

check-package: ## install the deb in an empty root, run it there and remove it; run the units under systemd
	packaging/check.sh
	packaging/check-unit.sh

check-image: ## build the image in a temporary store and run it
	packaging/check-image.sh

kubectl-plugin: ## kubectl-faultctl, in dist/: put it on the PATH
	mkdir -p dist
	cd kubernetes && CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w $(STAMP)" -o ../dist/kubectl-faultctl ./kubectl-faultctl

test-kubernetes: ## the plugin's tests that need no cluster
	cd kubernetes && $(GO) vet ./... && $(GO) test -count=1 ./...

check-kubernetes: ## build Kubernetes, start a cluster of one node and strike pods in it (as root)
	kubernetes/testcluster/check.sh

image: dist ## the container image, with docker or podman
	packaging/build-image.sh faultctl:$(VERSION)

clean: ## remove what was built
	rm -rf faultctl bin dist *.prof
