#!/usr/bin/env bash
# One part of the checks, by name; run.sh calls it. Exit 0: passed. 75: could not run here, and the note says why.
# Anything else: failed. On a developer's machine a missing browser or compiler is "could not run"; with CI=true it fails.
set -euo pipefail

readonly staticcheck_version=v0.8.2 # honnef.co/go/tools
readonly govulncheck_version=v1.8.0 # golang.org/x/vuln
readonly targets='linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64'
readonly exit_not_run=75
export CGO_ENABLED=0 # Den is built without; the one exception is the race detector
export NO_COLOR=1    # the output is kept in files

note() { printf '%s\n' "$*"; printf '%s' "$*" >"${NOTE_FILE:-/dev/null}"; }

# missing ends the part because something it needs is not on this machine.
missing() {
  note "$*"
  [ "${CI:-}" = true ] && exit 1
  exit "$exit_not_run"
}

have() { command -v "$1" >/dev/null 2>&1; }

# apt installs Debian packages where that is possible, that is for root on a machine with apt-get; else it does nothing. One
# installation runs at a time.
apt() {
  have apt-get && [ "$(id -u)" = 0 ] || return 0
  echo "installing $*"
  export DEBIAN_FRONTEND=noninteractive
  installing sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"' apt "$@" >/dev/null || true
}

# installing runs a command while nothing else is being installed.
installing() { mkdir -p .bin && flock .bin/apt.lock "$@"; }

# checker installs a pinned tool into the project's own .bin and prints its path.
checker() {
  local name=$1 package=$2 version=$3 dir=$PWD/.bin/$1@$3
  [ -x "$dir/$name" ] || GOFLAGS= GOBIN=$dir go install "$package@$version" >&2
  echo "$dir/$name"
}

# What go test need not do here: look at what the part vet looks at, and link what only a debugger reads.
readonly lean='-vet=off -ldflags=-w'

# tests is go test, which leaves a list of the tests that did not run on this machine for the summary.
tests() { go test -json $lean "$@" | CGO_ENABLED=0 go run ./test/checks/skips -out "${SKIPPED_FILE:-/dev/null}"; }

go_files() { find . \( -name node_modules -o -name '.?*' \) -prune -o -name '*.go' -print0; }

part_setup() {
  have go || { note 'no go command: install Go as go.mod asks for it'; exit 1; }
  go version
  go mod download
  have gcc || apt gcc libc6-dev # the race detector needs a C compiler; Den itself is built without
  have node && node --version || echo 'no node: the page cannot be tested'
  case " $PARTS " in *' web '*)
    # The web part comes last and needs a browser, so the browser is installed beside the other parts.
    { [ -n "$(chromium_path)" ] || apt chromium; } >.bin/logs/chromium.txt 2>&1 &
  esac
}

part_format() {
  local unformatted
  unformatted=$(go_files | xargs -0 gofmt -l)
  [ -z "$unformatted" ] || { printf 'gofmt would change:\n%s\n' "$unformatted"; exit 1; }
}

part_vet() { go vet ./...; }

part_staticcheck() {
  local tool
  tool=$(checker staticcheck honnef.co/go/tools/cmd/staticcheck "$staticcheck_version")
  "$tool" ./...
}

# A vulnerability in what Den calls fails. A database that cannot be reached is no pass and no failure: it is said.
part_vuln() {
  local tool out code=0
  tool=$(checker govulncheck golang.org/x/vuln/cmd/govulncheck "$govulncheck_version")
  out=$("$tool" ${GOVULNDB:+-db "$GOVULNDB"} ./... 2>&1) || code=$?
  printf '%s\n' "$out"
  [ "$code" = 0 ] && return 0
  [ "$code" = 3 ] && { note 'vulnerabilities in code that Den calls'; exit 1; }
  if grep -q 'fetching vulnerabilities' <<<"$out"; then
    note 'VULNERABILITIES WERE NOT CHECKED: the vulnerability database is out of reach from this machine'
    exit "$exit_not_run"
  fi
  exit 1
}

# For other systems the types of all packages are checked from source, and two of them are built; soak builds all. Only
# whether it compiles and links matters there, so the builds go without the optimiser: it takes a third of the time, most
# of it for SQLite's C in Go.
part_cross() {
  local target others=()
  for target in $targets; do
    [ "$target" = "$(host)" ] || others+=("$target")
  done
  go build ./...
  go run ./test/types "${others[@]}"
  build windows/amd64 darwin/arm64
}

part_cross-soak() { build $targets; }

host() { echo "$(go env GOHOSTOS)/$(go env GOHOSTARCH)"; }

build() {
  local target start flags
  for target; do
    start=$SECONDS
    flags=(-gcflags='all=-N -l')
    [ "$target" = "$(host)" ] && flags=()
    GOOS=${target%/*} GOARCH=${target#*/} go build ${flags[@]+"${flags[@]}"} ./...
    echo "$target $((SECONDS - start))s"
  done
}

# The race detector makes SQLite fifteen times slower. It watches Den and all that Den uses, but for SQLite's C in Go, which
# takes its own locks; unit-soak has it watch that too.
part_unit() { unit -gcflags=modernc.org/sqlite/lib=-race=false; }

# The tests of transport wait more than they work, so they begin first, and beside two others.
unit() {
  local flags=(-shuffle=on -count=1 -timeout 20m -p 3 "$@")
  if have gcc || have clang; then
    CGO_ENABLED=1 tests -race "${flags[@]}" ./transport ./...
    return
  fi
  echo 'no C compiler: the tests run WITHOUT the race detector'
  tests -shuffle=on -count=1 -timeout 20m ./...
  missing 'tests passed, but WITHOUT the race detector: it needs a C compiler'
}

# part_unit-soak repeats the tests in ever new orders until DURATION is over.
part_unit-soak() {
  local end=$((SECONDS + $(seconds "$DURATION"))) rounds=0
  while [ $SECONDS -lt $end ]; do
    unit
    rounds=$((rounds + 1))
  done
  note "$rounds rounds"
}

# seconds reads 90s, 10m or 2h.
seconds() {
  case $1 in
    *h) echo $((${1%h} * 3600)) ;;
    *m) echo $((${1%m} * 60)) ;;
    *s) echo "${1%s}" ;;
    *) echo "DURATION=$1: write 90s, 10m or 2h" >&2; exit 1 ;;
  esac
}

# declaring prints the packages whose tests declare functions with a prefix, such as Benchmark. To ask go test for them would
# link the tests of all packages.
declaring() {
  grep -rlE --include='*_test.go' --exclude-dir=node_modules --exclude-dir='.?*' "^func $1[A-Z]" . | xargs -r -n1 dirname | sort -u
}

# Fuzz targets are found, not listed: a new one is run from the day it is written. SQLite is compiled once more for them,
# with counters; no target runs it, so it goes without the optimiser.
part_fuzz() {
  local package name count=0
  for package in $(declaring Fuzz); do
    for name in $(grep -hoE '^func Fuzz[A-Z][A-Za-z0-9_]*' "$package"/*_test.go | cut -c6-); do
      echo "--- $name in $package"
      fuzz "$name" "$package"
      count=$((count + 1))
    done
  done
  [ "$count" -gt 0 ] || { note 'no fuzz target was found'; exit 1; }
  note "$count targets, $FUZZTIME each"
}

# fuzz fuzzes one target. On a busy machine go test may tell the end of the time itself as a failure, without an input that
# fails: then, and only then, it runs once more.
fuzz() {
  local log=.bin/logs/fuzz-$1.txt
  mkdir -p .bin/logs
  fuzzOnce "$@" | tee "$log" && return 0
  grep -q '^    context deadline exceeded$' "$log" && ! grep -q 'Failing input' "$log" && fuzzOnce "$@"
}

fuzzOnce() { go test $lean -gcflags='modernc.org/sqlite/lib=-N -l' -run '^$' -fuzz "^$1\$" -fuzztime "$FUZZTIME" "$2"; }

# Every benchmark that compares with a floor reports a metric with "ratio" in its unit; run.sh shows those again at the end.
part_bench() {
  local logs=.bin/logs
  [ "$BENCHTIME" = 1x ] || export DEN_BENCH_FULL=1 # the log's size after a million actions
  mkdir -p "$logs"
  go test $lean -run '^$' -bench . -benchtime "$BENCHTIME" -timeout 20m $(declaring Benchmark) | tee "$logs/bench.txt"
  grep -q '^Benchmark' "$logs/bench.txt" || { note 'no benchmark was found'; exit 1; }
  awk '/^Benchmark/ {
    for (i = 3; i < NF; i += 2) if ($(i+1) ~ /ratio/) printf "%-28s %8s %s\n", $1, $i, $(i+1)
  }' "$logs/bench.txt" >"$logs/ratios.txt"
  note "$(grep -c '^Benchmark' "$logs/bench.txt") benchmarks, $BENCHTIME each"
}

part_crash() { crash "${LOOPS:-200}" 0s; }

part_crash-soak() { crash 1000000 "$DURATION"; }

crash() {
  DEN_CRASH_LOOPS=$1 DEN_CRASH_FOR=$2 go test $lean -count=1 -v -timeout 24h -run '^TestInvariantGateKill9$' ./test/crash
}

# Real sockets, concurrent clients, and a search for an order that explains what they saw.
part_linear-soak() {
  go test -count=1 -v -timeout 24h -run '^TestInvariantOrderedLinearizable$' ./test/linear -linear.for "$DURATION"
}

# The simulation, for as long as one likes; 500 seeds of it in every run; and its deliberate bugs.
part_sim() { tests -count=1 -timeout 15m ./test/sim -sim.seeds 500; }
part_sim-soak() { go test -count=1 -v -timeout 24h -skip '^TestTorture$' ./test/sim -sim.for "$DURATION"; }
part_bugs() { go test -count=1 -v -tags denbugs -timeout 1h -run '^TestBugs$' ./test/sim ./test/linear; }

# The storage's tests in full: power cuts at every operation, and 500 seeds of rooms on one log on a disk that fails. The
# race detector makes SQLite fifteen times slower, so the unit tests try a part of these. The torture also runs for as long
# as there is time for.
part_storage() { tests -count=1 -timeout 15m ./storage/...; }
part_torture-soak() {
  go test -count=1 -v -timeout 24h -run '^TestTorture$' ./storage -torture.for "$DURATION"
  go test -count=1 -v -timeout 24h -run '^TestTorture$' ./test/sim -sim.for "$DURATION"
}

# 10,000 sockets that come and go: does the server stay as it is? The picture is left in .bin.
part_sockets-soak() {
  [ "$(go env GOOS)" = linux ] || missing 'what the server needs is read from /proc, which only Linux has'
  go run ./test/soak -for "$DURATION" -out .bin/soak.png -csv .bin/soak.csv
  note 'drawn in .bin/soak.png'
}

# Hostile clients beside honest ones, under the race detector (see part_unit) and with more threads than there are cores.
part_edges-soak() {
  have gcc || have clang || missing 'the race detector needs a C compiler'
  CGO_ENABLED=1 GOMAXPROCS=12 go test -race -gcflags=modernc.org/sqlite/lib=-race=false -count=1 -v -timeout 24h -run '^TestEdges$' ./test/edges \
    -edges.for "$DURATION" -edges.hostile 200 -edges.honest 50 -edges.ratio 2
}

part_web() {
  local browser
  have node && have npm || missing 'Node.js with npm is missing: the page and the wire were not tested'
  browser=$(installed_chromium)
  [ -n "$browser" ] || { apt chromium; browser=$(chromium_path); }
  cd test/web
  npm ci --no-audit --no-fund
  npm run typecheck
  npm test # without a browser its tests skip themselves
  [ -n "$browser" ] || missing 'Chromium is missing (apt-get install chromium): the page was not tested in a browser'
}

# installed_chromium waits for the installation that setup began.
installed_chromium() { have flock && installing true; chromium_path; }

chromium_path() { command -v chromium || command -v chromium-browser || command -v google-chrome || true; }

"part_$1"
