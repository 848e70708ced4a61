package main

import (
	"encoding/csv"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test's own program be the server.
func TestMain(m *testing.M) {
	if job := os.Getenv(serverEnv); job != "" {
		os.Exit(serverMain(job))
	}
	os.Exit(m.Run())
}

// TestSoak is a whole run, small and short. What grows is not its subject.
func TestSoak(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	c := config{
		length: 3 * time.Second, sockets: 40, rooms: 5, idle: 50 * time.Millisecond, ramp: 100 * time.Millisecond, every: 50 * time.Millisecond,
		stay: time.Second, away: 200 * time.Millisecond, speak: time.Second, growth: 100, seed: 1,
		out: filepath.Join(dir, "soak.png"), csv: filepath.Join(dir, "soak.csv"),
	}
	var said strings.Builder
	if err := soak(t.Context(), c, &said); err != nil {
		t.Fatalf("%v\n%s", err, &said)
	}
	if !strings.Contains(said.String(), "flat, without a fault") {
		t.Errorf("the report is\n%s", &said)
	}
	drawn, err := os.ReadFile(c.out)
	if err != nil {
		t.Fatal(err)
	}
	checkPicture(t, drawn)
	end := lastOf(t, c.csv)
	for column, least := range map[string]int{
		"connections": 1, "rss_bytes": 1 << 20, "heap_bytes": 1 << 10, "descriptors": 10, "goroutines": 5,
		"rooms_woken": c.rooms + 1, "acts": 5, "connects": c.sockets + 1,
	} {
		if end[column] < least {
			t.Errorf("%s is %d at the end, want %d or more", column, end[column], least)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "den-soak-*")); err != nil || len(left) > 0 {
		t.Errorf("the data is still there: %v (%v)", left, err)
	}
}

// lastOf is the last line of a CSV file, by the columns' names.
func lastOf(t *testing.T, name string) map[string]int {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil || len(lines) < minSamples+1 {
		t.Fatalf("%d lines of CSV (%v)", len(lines), err)
	}
	last := make(map[string]int)
	for i, column := range lines[0] {
		v, err := strconv.ParseFloat(lines[len(lines)-1][i], 64)
		if err != nil {
			t.Errorf("%s: %v", column, err)
		}
		last[column] = int(v)
	}
	return last
}

func TestTooManySockets(t *testing.T) {
	if err := canSoak(1 << 40); err == nil || !strings.Contains(err.Error(), "ulimit -n") {
		t.Errorf("2^40 sockets: %v", err)
	}
}

func TestFlags(t *testing.T) {
	c, err := parseConfig([]string{"-for", "18s"}, io.Discard)
	if err != nil || c.every != time.Second || c.ramp != 18*time.Second/5 || c.warmUp() != 18*time.Second/5 {
		t.Errorf("a short run: %+v (%v)", c, err)
	}
	c, err = parseConfig(nil, io.Discard)
	if err != nil || c.warmUp() != 2*time.Minute || c.ramp != time.Minute || c.sockets != 10_000 || c.rooms != 2000 || c.length != 10*time.Minute {
		t.Errorf("the defaults: %+v (%v)", c, err)
	}
	for _, args := range [][]string{{"-sockets", "0"}, {"-rooms", "-1"}, {"-for", "0s"}, {"-stay", "-1s"}, {"-growth", "-1"}, {"more"}} {
		if _, err := parseConfig(args, io.Discard); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}
