# One target for each habit; `make help` lists them.
GO ?= go
LINT = $(GO) tool -modfile=tools/go.mod golangci-lint

.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  \1|/' | column -t -s '|'

build: ## build ./millrace
	$(GO) build -trimpath -o millrace ./cmd/millrace

test: ## build and run every test that needs only Go
	$(GO) test ./...

test-race: ## the same tests under the race detector (needs gcc)
	CGO_ENABLED=1 $(GO) test -race ./...

test-browser: ## install a browser if there is none, and test the dashboard in it
	./scripts/install-browser.sh
	MILLRACE_BROWSER=required $(GO) test -count=1 ./serve/dashboard/...

flink: ## build build/millrace-flink.jar, which runs on Apache Flink (needs Java 17 and Maven)
	./scripts/flink.sh

test-flink: ## test the operator host in Flink's harness and on a small cluster (needs Java 17 and Maven)
	./scripts/flink.sh test

test-s3: ## install an S3 server if there is none, and test what is kept in buckets against it
	MILLRACE_S3=required MILLRACE_S3_SERVER="$$(./scripts/install-s3.sh)" $(GO) test -count=1 -run 'S3|^TestStore|Folders|Denied' ./objectstore/s3/... ./savepoint/... ./cmd/millrace/

test-integration: ## install Kafka, Redis, MariaDB, PostgreSQL and Flink, and run the tests that need real ones
	./scripts/test-integration.sh

services: ## start Kafka, Redis, MariaDB, PostgreSQL and Flink on 127.0.0.1, without containers
	./scripts/services.sh start

services-stop: ## stop them; their data stays in build/services
	./scripts/services.sh stop

lint: ## run golangci-lint with the house rules, go vet among them
	$(LINT) run ./...
	./scripts/check-size.sh

fuzz: ## fuzz every parser for FUZZTIME each (default 20s)
	./scripts/fuzz.sh $(or $(FUZZTIME),20s)

bench: ## measure the figures of docs/benchmarks.md and print them as a table
	./scripts/bench.sh

bench-services: ## measure Kafka to log, publishing, and fronts over Redis, on a broker and a Redis of its own
	./scripts/bench-services.sh $(BENCHSERVICES)

bench-flink: ## run the reference jobs here and on Apache Flink in turns (needs Java and Maven)
	./scripts/bench-flink.sh $(BENCHFLINK)

bench-flink-host: ## measure Go stages in Flink beside plain Java on Flink, in turns (needs Java and Maven)
	./scripts/bench-flink-host.sh $(BENCHFLINK)

soak: ## thousands of simulated crashes, 300 real kills, all of MovieLens without blocks, every job and backend on Flink
	MILLRACE_SOAK=1 $(GO) test -count=1 -timeout 60m -run 'Simulation|SurviveCrashes|Kill|MovieLens' ./engine/... ./cmd/...
	MILLRACE_SOAK=1 MILLRACE_SERVICES=required $(GO) test -count=1 -timeout 60m ./flink

demo: ## server, generated shop traffic and dashboard
	$(GO) run ./cmd/millrace demo

.PHONY: flink test-flink bench-services bench-flink bench-flink-host help build services services-stop test test-race test-browser test-integration test-s3 lint fuzz bench soak demo
