.POSIX:

# demo and test need Go and make, nothing else.

GO = go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

# The packages to test: those that take longest begin first.
PACKAGES = ./saga ./store/redisstore ./...

# How long each fuzz target runs, how often soak kills workers, and how often the
# process of a redrive of 200 messages a kill, and how many messages it sends.
FUZZTIME = 30s
KILLS = 50
REDRIVE_KILLS = 100
MESSAGES = 100000

.PHONY: help build demo demo-localstack test race bench fuzz soak lint servers clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-17s %s\n", $$1, $$2 }' Makefile

build: ## build the binary, bin/waybill
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/waybill ./cmd/waybill

demo: ## run fare processing on the embedded queues and Redis
	CGO_ENABLED=0 $(GO) run ./examples/wildrydes

demo-localstack: ## run it on the LocalStack and Redis of docker-compose.yml, which must be up
	CGO_ENABLED=0 $(GO) run ./examples/wildrydes --endpoint http://127.0.0.1:4566 --redis 127.0.0.1:6379

test: ## run all tests
	CGO_ENABLED=0 $(GO) test $(PACKAGES)

race: ## run all tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -timeout 20m $(PACKAGES)

bench: ## run the benchmarks
	CGO_ENABLED=0 $(GO) test -run '^$$' -bench . -benchmem ./...

# By default Go takes a minute to make an input smaller that covers something new.
fuzz: ## run each fuzz target for FUZZTIME
	@find . -name '*_test.go' -exec grep -l '^func Fuzz' {} + | while read -r file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$file); do \
			echo "$$target in $$file"; \
			CGO_ENABLED=0 $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s $${file%/*} </dev/null || exit 1; \
		done; \
	done

soak: ## run sagas, the demo and a redrive while their processes are killed, and send MESSAGES through queues that fail
	CGO_ENABLED=0 WAYBILL_SOAK=$(KILLS) $(GO) test -count 1 -timeout 60m -v -run 'Killed$$' ./saga ./examples/wildrydes
	CGO_ENABLED=0 WAYBILL_SOAK=$(REDRIVE_KILLS) $(GO) test -count 1 -timeout 60m -v -run 'Killed$$' ./dlq
	CGO_ENABLED=0 WAYBILL_CHAOS=$(MESSAGES) $(GO) test -count 1 -timeout 60m -v -run 'Chaos$$' ./pipeline

lint: ## check the format, vet and staticcheck
	@files=$$(gofmt -l .); test -z "$$files" || { echo "not formatted by gofmt:"; echo "$$files"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

servers: ## start the real servers that the tests can run against, and print the variables for it
	@bash .ci/servers

clean: ## remove what the other targets made
	rm -rf bin dist coverage.out
