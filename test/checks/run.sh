#!/usr/bin/env bash
# Runs the named parts of the checks one after another and ends with a table: part, seconds, result.
# A part that fails makes the whole fail; the later ones still run, so that one run tells all there is to tell.
# Only a failed set-up ends it at once, because nothing after it could mean anything.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd) || exit 1
cd "$root" || exit 1
logs=$root/.bin/logs
rm -rf "$logs" && mkdir -p "$logs" || exit 1

readonly exit_not_run=75 # a part says with it: I could not run here, and the reason is in my note
summary=()
passed=0 failed=0 not_run=0
began=$SECONDS

run_part() {
  local part=$1 start=$SECONDS code result note
  printf '\n==> %s\n' "$part"
  NOTE_FILE="$logs/$part.note" SKIPPED_FILE="$logs/$part.skipped" bash test/checks/parts.sh "$part" 2>&1 </dev/null | tee "$logs/$part.log"
  code=${PIPESTATUS[0]}
  case $code in
    0) result=ok; passed=$((passed + 1)) ;;
    "$exit_not_run") result='NOT RUN'; not_run=$((not_run + 1)) ;;
    *) result=FAILED; failed=$((failed + 1)) ;;
  esac
  note=$(cat "$logs/$part.note" 2>/dev/null)
  summary+=("$(printf '%-12s %5ds  %-8s %s' "$part" $((SECONDS - start)) "$result" "$note")")
  return "$code"
}

export PARTS="$*"
for part in "$@"; do
  run_part "$part" || [ "$part" != setup ] || break
done

# go test's own verdicts once more, near the end where they are looked for.
for log in "$logs"/unit*.log; do
  [ -f "$log" ] && { printf '\n==> what go test said\n'; grep -E '^(ok  |FAIL|---|panic:|\?   )' "$log" | grep -v 'no test files'; }
done

[ -s "$logs/ratios.txt" ] && { printf '\n==> ratios\n'; cat "$logs/ratios.txt"; }

# A test that skips itself is not seen in "ok": one that needs root, or a program that is not here.
skipped=$(cat "$logs"/*.skipped 2>/dev/null | sort -u)
[ -n "$skipped" ] && printf '\n==> tests that did not run here\n%s\n' "$skipped"

printf '\n==> summary\n'
printf '%s\n' "${summary[@]}"
printf '%-12s %5ds\n\n' all $((SECONDS - began))
printf 'parts: %d passed, %d failed, %d skipped; %d tests did not run here\n' "$passed" "$failed" "$not_run" "$(grep -c . <<<"$skipped")"
[ "$failed" -eq 0 ]
