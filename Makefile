# Den's checks. `make test` runs all of them, sets up what it needs, and ends with a table of parts, seconds and results.
# What each part does is in test/checks/parts.sh; the order and the summary are in test/checks/run.sh.
#
#   make test    everything, once                     make lint    format, vet, staticcheck, vulnerabilities
#   make unit    go test -race, SQLite left out         make cross   does it build for every system that Den supports
#   make fuzz    every fuzz target (FUZZTIME=5s)      make bench   every benchmark (BENCHTIME=1s), and the ratios
#   make crash   kill -9 and restart (LOOPS=200)      make web     the page and the wire, in Node and Chromium
#   make sim     systems from seeds (test/sim)         make bugs    the simulation against deliberate bugs
#   make mutants  small bugs in the source: do the tests find them? (PKG= SEED=1 N=50; test/mutants/main.go says how)
#   make soak-edges  200 hostile clients beside 50 honest ones (DURATION=10m)
#   make soak    the long versions (DURATION=10m)     make api     rewrite the golden files of the exported API
#   make run     serve the example rooms              make clean   remove the checkers and logs
#   make compare the benchmarks of test/compare/list.go, here and at another commit, in turn: is anything slower?
#                (PAIRS=10 BASE=HEAD~1 BENCH=regexp DIR=; fails if so; what it says and why is in test/compare/main.go)

SHELL     := /bin/bash
RUN       := test/checks/run.sh
FUZZTIME  ?= 5s
BENCHTIME ?= 1s
LOOPS     ?= 200
DURATION  ?= 10m
PAIRS     ?= 10
BASE      ?= HEAD~1
BENCH     ?= .
SEED      ?= 1
N         ?= 50

export FUZZTIME LOOPS DURATION

.PHONY: test lint cross unit fuzz bench compare crash sim bugs mutants web soak soak-edges api run clean

test:
	@BENCHTIME=1x $(RUN) setup format vet staticcheck vuln cross unit fuzz bench crash sim storage web

lint:
	@$(RUN) setup format vet staticcheck vuln

cross unit fuzz crash sim storage bugs web:
	@$(RUN) setup $@

bench:
	@BENCHTIME=$(BENCHTIME) $(RUN) setup bench

compare:
	@go run ./test/compare -pairs '$(PAIRS)' -base '$(BASE)' -bench '$(value BENCH)' -dir '$(DIR)'

mutants:
	@go run ./test/mutants -pkg '$(PKG)' -seed '$(SEED)' -n '$(N)' -list '$(LIST)'

soak:
	@FUZZTIME=$(DURATION) BENCHTIME=2s $(RUN) setup cross-soak unit-soak fuzz crash-soak linear-soak sim-soak torture-soak sockets-soak edges-soak bugs bench

soak-edges:
	@$(RUN) setup edges-soak

api:
	go test ./test/policy -run '^TestAPI$$' -update

run:
	go run ./cmd/den

clean:
	rm -rf .bin
