# Everything a person does with this repository; `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
GO ?= go
UP ?=
BENCH ?=

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/headway and the example's image
	$(GO) build -o bin/headway ./cmd/headway
	$(GO) run ./hack/helloimage -o bin/images/hello.tar

.PHONY: up
up: ## install what is missing, build, and start a cluster on this machine (UP="flags")
	hack/deps node
	$(MAKE) build
	bin/headway up $(UP)

.PHONY: down
down: ## stop the cluster and leave nothing behind (DOWN="--purge" removes the data)
	bin/headway down $(DOWN)

.PHONY: test
test: ## install what the tests need and run all of them
	hack/deps node test
	hack/test

.PHONY: test-race
test-race: ## the same under the race detector, without the tour
	hack/deps node test
	hack/test -race

.PHONY: e2e
e2e: ## the built binary from outside: the tour, kubectl, several machines
	hack/deps node test
	$(MAKE) build
	HEADWAY_BIN=$(CURDIR)/bin/headway HEADWAY_E2E_RUNS=20 $(GO) test -count=1 -p 1 -v -timeout 15m ./test/e2e/...

.PHONY: kills
kills: build ## end the server at every failpoint of every kind of commit (slow)
	HEADWAY_BIN=$(CURDIR)/bin/headway HEADWAY_KILLS=all $(GO) test -count=1 -v -timeout 90m -run TestServerDiesAnywhere ./test/fault

.PHONY: node-kills
node-kills: build ## kill agent, server, containerd and log keeper 1,000 times below running containers (slow)
	HEADWAY_BIN=$(CURDIR)/bin/headway HEADWAY_NODE_KILLS=1000 $(GO) test -count=1 -v -timeout 120m -run TestContainersOutliveKills ./test/fault

.PHONY: test-vm
test-vm: ## the tour and a reboot in an emulated machine with systemd and cgroup v2 (slow)
	hack/deps node vm
	$(MAKE) build
	HEADWAY_VM=1 $(GO) test -count=1 -v -timeout 60m ./test/vm/...

.PHONY: bench
bench: ## the built binary's figures, one a line (BENCH="flags of test/bench")
	hack/deps node
	$(MAKE) build
	$(GO) run ./test/bench $(BENCH)

.PHONY: bench-api
bench-api: build ## the API server's figures, one a line (BENCH="flags of test/bench/api")
	$(GO) run ./test/bench/api $(BENCH)

.PHONY: bench-git
bench-git: build ## the GitOps engine's figures, one a line (BENCH="flags of test/bench/git")
	$(GO) run ./test/bench/git $(BENCH)

.PHONY: bench-sched
bench-sched: build ## the scheduler's figures with hollow nodes, one a line (BENCH="flags of test/bench/sched")
	$(GO) run ./test/bench/sched $(BENCH)

.PHONY: bench-node
bench-node: build ## the node agent's figures, and what 500 pods leave, one a line (BENCH="flags of test/bench")
	$(GO) run ./test/bench -only singles,crowd,cycles $(BENCH)

.PHONY: bench-go
bench-go: ## run the benchmarks of every component
	$(GO) test -run '^$$' -bench . -benchtime 1s $$($(GO) list ./... | grep -Ev '/test/(e2e|vm)')

.PHONY: lint
lint: ## formatting, vet and the laws of the repository; works offline
	@bad=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$bad" || { echo "not formatted: $$bad"; exit 1; }
	$(GO) vet ./...
	$(GO) test -count=1 ./test/laws/...

.PHONY: update
update: ## write generated files anew
	$(GO) generate ./...

.PHONY: verify
verify: update lint ## update, and a clean tree
	@test -z "$$(git status --porcelain)" || { git status --short; echo "generated files differ: commit what \"make update\" writes"; exit 1; }

.PHONY: fuzz
fuzz: ## run every fuzz test for FUZZTIME (default 30s)
	hack/fuzz
