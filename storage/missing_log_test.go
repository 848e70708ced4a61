package storage

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// After a crash a command opens the log and closes it well, without waking the rooms. If the file that it began is lost then, the
// rooms still take what the crash has left from the older one, or are refused; nothing is lost in silence.
func TestInvariantGateNewestLogFileMissing(t *testing.T) {
	r := newRig(t, 5)
	defer r.close()
	r.mustStart()
	first := r.mustOpen("first")
	if err := errors.Join(first.MakeTemplate("todos"), first.Close()); err != nil {
		t.Fatal(err)
	}
	file, logOnly := r.mustOpen("first"), r.mustOpen("log-only")
	if !logOnly.store.inMemory() {
		t.Fatal("the room has a file")
	}
	want := map[int]string{}
	for id := range 5 {
		want[id] = fmt.Sprint("text ", id)
		if err := errors.Join(put(file, id, want[id]), put(logOnly, id, want[id])); err != nil {
			t.Fatal(err)
		}
	}
	r.kill(file, logOnly)
	for range 2 { // the second one's file is the one that is lost
		r.mustStart()
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
	}
	segments := r.segments()
	newest := segments[len(segments)-1]
	if err := r.disk.Remove(newest); err != nil {
		t.Fatal(err)
	}
	for _, room := range []string{"first", "log-only"} {
		if err := r.expect(room, cutResult{want: want}); err != nil && !errors.Is(err, ErrLogMissing) {
			t.Errorf("%s without %s: %v", room, newest, err)
		}
	}
}

// segments are the files of the log, the oldest first.
func (r *rig) segments() (names []string) {
	for _, name := range r.disk.Files() {
		if strings.HasSuffix(name, ".log") {
			names = append(names, name)
		}
	}
	return names
}

// A room that is opened without a file of the log that is missing is sound: its history goes as far as the
// log does, and a Verifier finds fault with the log alone.
func TestHistoryEndsAtMissingLogFile(t *testing.T) {
	r := newRig(t, 6)
	defer r.close()
	r.alone, r.history, r.segment = true, time.Hour, 4<<10
	r.mustStart()
	d := r.mustOpen("r")
	for id := range 40 {
		if err := put(d, id, strings.Repeat("x", 200)); err != nil {
			t.Fatal(err)
		}
	}
	now := d.Seq()
	if err := errors.Join(d.CopyAt("/early", Point{Seq: 1}), d.Close(), r.stop()); err != nil {
		t.Fatal(err)
	}
	missing := r.segments()[1]
	if err := r.disk.Remove(missing); err != nil {
		t.Fatal(err)
	}
	r.verifyMissing("r", missing)

	r.mustStart()
	d = r.mustOpen("r")
	if err := d.CopyAt("/now", Point{Seq: now}); err != nil {
		t.Errorf("the room as it is: %v", err)
	}
	err := d.CopyAt("/before", Point{Seq: 1})
	reach, is := errors.AsType[*HistoryError](err)
	if !is || !errors.Is(err, ErrNoHistory) || errors.Is(err, ErrLogMissing) || reach.Oldest.Seq <= 1 || reach.Oldest.Seq >= now {
		t.Fatalf("before the missing file: %v", err)
	}
	if err := errors.Join(d.CopyAt("/oldest", reach.Oldest), d.Close(), r.stop()); err != nil {
		t.Errorf("the oldest state that can be had: %v", err)
	}
}

// The same where the log knows nothing of a room, because it was restored after a crash had left the file that
// is missing.
func TestRestoredBesideMissingLogFile(t *testing.T) {
	r := newRig(t, 7)
	defer r.close()
	r.alone, r.history = true, time.Hour
	r.mustStart()
	d := r.mustOpen("r")
	if err := errors.Join(put(d, 1, "one"), archived.write(d, "/backup/b.db"), put(d, 2, "two")); err != nil {
		t.Fatal(err)
	}
	r.kill(d)
	r.mustStart()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	missing := r.segments()[0]
	if err := r.disk.Remove(missing); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	p, err := archived.restore(r.options("r"), "/backup/b.db")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Install(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Discard(), r.stop()); err != nil {
		t.Fatal(err)
	}
	r.verifyMissing("r", missing)
	if err := r.expect("r", cutResult{want: map[int]string{1: "one"}}); err != nil {
		t.Error(err)
	}
}

// verifyMissing has a Verifier look at a room and at the log, which lacks one file. Nothing else is a problem.
func (r *rig) verifyMissing(room, missing string) {
	r.t.Helper()
	got := verify(r.t, VerifyOptions{FS: r.fs, LogDir: "/data/_log"}, onDiskFiles(r.t, r.disk), func(v *Verifier) { v.Room(r.options(room)) })
	noted := slices.ContainsFunc(got.found, func(f Finding) bool { return f.Check == "history" && f.Severity == Note })
	if problems := strings.Join(got.problems(), " "); problems != "log" || !noted || !strings.Contains(fmt.Sprint(got.found), filepath.Base(missing)) {
		r.t.Errorf("without %s, a Verifier found %q:\n%v", missing, problems, got)
	}
}
