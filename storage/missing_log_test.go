package storage

import (
	"errors"
	"fmt"
	"testing"
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
	file, born := r.mustOpen("first"), r.mustOpen("born")
	if !born.unsettled() {
		t.Fatal("the room has a file")
	}
	want := map[int]string{}
	for id := range 5 {
		want[id] = fmt.Sprint("text ", id)
		if err := errors.Join(put(file, id, want[id]), put(born, id, want[id])); err != nil {
			t.Fatal(err)
		}
	}
	r.kill(file, born)
	for range 2 { // the second one's file is the one that is lost
		r.mustStart()
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
	}
	newest := ""
	for _, name := range r.disk.Files() {
		if len(name) > 4 && name[len(name)-4:] == ".log" {
			newest = name
		}
	}
	if err := r.disk.Remove(newest); err != nil {
		t.Fatal(err)
	}
	for _, room := range []string{"first", "born"} {
		if err := r.expect(room, cutResult{want: want}); err != nil && !errors.Is(err, ErrLogMissing) {
			t.Errorf("%s without %s: %v", room, newest, err)
		}
	}
}
