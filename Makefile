# faultctl: `make demo` shows it, `make test` proves it. Both set up all they
# need on a machine with Go, make and (for the race detector) a C compiler,
# and neither needs root: without it they work in namespaces of their own.

GO      ?= go
PKGS    := ./...
FUZZFOR ?= 20s

.PHONY: build demo deps test fidelity lint fuzz bench docs cover clean

build: ## the binary, ./faultctl
	$(GO) build -o faultctl .

demo: build ## two hosts, a client, a server, and a connection that dies
	./faultctl demo

deps: ## what the tests use beyond that; as root it installs, else it says what is missing
	integration/deps.sh

test: ## every test, race detector on
	$(GO) test -race -count=1 -timeout 20m $(PKGS)

fidelity: ## every fault beside its genuine cause, from everywhere; writes docs/FIDELITY.md
	$(GO) test -race -count=1 -timeout 20m ./integration/fidelity -update

lint: ## gofmt, vet, staticcheck
	@test -z "$$(gofmt -l .)" || { echo "gofmt these files:"; gofmt -l .; exit 1; }
	$(GO) vet $(PKGS)
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.7.0 $(PKGS)

fuzz: ## the parsers against random bytes
	$(GO) test ./faults/packet -run '^$$' -fuzz FuzzParse -fuzztime $(FUZZFOR)
	$(GO) test ./faults/packet -run '^$$' -fuzz FuzzBuild -fuzztime $(FUZZFOR)

bench: ## the micro-benchmarks of the packet path
	$(GO) test -run '^$$' -bench . -benchmem ./faults/... ./injector/...

docs: ## the pages that are made from the code
	$(GO) test ./cli -run 'TestCataloguePage|TestScenarioPages' -update
	$(GO) test ./integration/clients -count=1 -update

cover: ## coverage of everything by everything
	$(GO) test -coverpkg=./faults/...,./injector/...,./cli/... -coverprofile=cover.prof $(PKGS)
	$(GO) tool cover -func=cover.prof | tail -1

clean:
	rm -rf faultctl bin dist *.prof
