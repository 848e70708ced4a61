//go:build denbugs

package sim

import (
	"maps"
	"os"
	"slices"
	"testing"
	"time"
)

// bugs are the deliberate ones, by the names under which package bug knows them, and what finds them.
func bugs() map[string]plan {
	list := make(map[string]plan)
	for _, name := range []string{
		"gate", "lost-batch", "mark-outside", "cursor-high", "reset-flag", "floor", "tombstones", "peer-high",
		"ack-before-sync", "replay-last", "replay-none", "release-early", "untold", "log-only-pages",
	} {
		list[name] = plan{}
	}
	for _, name := range []string{"wal-header", "rollback-mode", "dir-sync", "suspect-order", "full", "seq-back", "compact-sync", "scrub-blind"} {
		list[name] = plan{torture: true}
	}
	return list
}

// maxTries is how many seeds a bug may take.
const maxTries = 3000

// TestBugs switches each deliberate bug on and runs seeds until one fails. A bug that no seed finds is a hole in the
// simulation; a seed that fails without the bug too proves nothing.
func TestBugs(t *testing.T) {
	all := bugs()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			began, p := time.Now(), all[name]
			for i := range maxTries {
				p.seed = *firstFlag + uint64(i)
				t.Setenv("DEN_BUG", name)
				o := run(t, p)
				if o.failure == "" {
					continue
				}
				if err := os.Unsetenv("DEN_BUG"); err != nil {
					t.Fatal(err)
				}
				if without := run(t, p); without.failure != "" {
					t.Fatalf("seed %d fails without the bug: %s", p.seed, without.failure)
				}
				t.Logf("%s: caught by seed %d, in %v: %s", name, i+1, time.Since(began).Round(time.Millisecond), o.failure)
				return
			}
			t.Errorf("%s: %d seeds do not find it", name, maxTries)
		})
	}
}
