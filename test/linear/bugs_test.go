//go:build denbugs

package linear

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestBugs switches deliberate bugs on (package internal/bug) and expects the histories to show each.
//
//	go test -tags denbugs ./test/linear -run TestBugs -v
func TestBugs(t *testing.T) {
	for name, what := range map[string]string{
		"twice": "a numbered action that comes again is applied again",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("DEN_BUG", name)
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			var total tally
			for part := range uint64(20) {
				faults := newRun(t, seed, part).do(time.Second, &total)
				if len(faults) > 0 {
					t.Logf("%s: seen after %v: %.300s", what, total.took.Round(time.Millisecond), faults[0])
					return
				}
			}
			t.Errorf("%s, and %v of histories do not show it", what, total.took)
		})
	}
}
