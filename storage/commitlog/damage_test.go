package commitlog

// Bytes that are not what was written.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/faultdisk"
)

// TestForgedRecord: an entry that fits its own checksums, and not the room's chain.
func TestForgedRecord(t *testing.T) {
	d := build(t, "")
	name := "log/" + segment.Name(1)
	b, err := d.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	salt, err := segment.CheckHeader(b, [16]byte(b[16:32]), 1)
	if err != nil {
		t.Fatal(err)
	}
	at := segment.Start
	for n := 0; n < 4; { // the third entry of a
		r, ok := segment.ParseRecord(b[at:], salt)
		if !ok {
			t.Fatal("not a record")
		}
		at += r.Size()
		if next, _ := segment.ParseRecord(b[at:], salt); next.Flags&segment.FlagIndex == 0 {
			n++
		}
	}
	r, ok := segment.ParseRecord(b[at:], salt)
	if !ok || r.Number != 3 || r.Length == 0 {
		t.Fatalf("%+v", r)
	}
	payload := bytes.Repeat([]byte("x"), int(r.Length))
	forged := forge(t, salt, &r, "", payload)
	copy(b[at:], forged)
	d.Write(name, b)
	l := mustOpen(t, testOptions(d, newClock()))
	defer mustClose(t, l)
	wantReplay(t, mustRoom(t, l, "b"), 0, 40) // the other room is well
	a := mustRoom(t, l, "a")
	err = a.Replay(0, func(Entry) error { return nil })
	wantError(t, "replay", err, ErrCorrupt)
	err = a.Backward(func(e Entry) (bool, error) { return true, nil })
	wantError(t, "backward", err, ErrCorrupt)
}

// build makes a small log of several segments; crashed leaves the last one unsealed.
func build(t testing.TB, crashed string) *faultdisk.Disk {
	d, clock := faultdisk.New(3), newClock()
	l := mustOpen(t, testOptions(d, clock))
	a, b := mustRoom(t, l, "a"), mustRoom(t, l, "b")
	for n := uint64(1); n <= 40; n++ {
		appendUpTo(t, a, n, n)
		appendUpTo(t, b, n, n)
	}
	if crashed == "" {
		mustClose(t, l)
	} else {
		d.Kill()
		if err := d.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// outcome opens a damaged log: every room gives all, or ErrCorrupt or ErrLost is seen.
func outcome(t testing.TB, d *faultdisk.Disk, what string) (seen bool) {
	t.Helper()
	l, err := Open(testOptions(d, newClock()))
	if err != nil {
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrLost) {
			t.Errorf("%s: open: %v", what, err)
		}
		return true
	}
	for _, name := range []string{"a", "b"} {
		r, err := l.Room("party", name, "e1")
		var got []uint64
		if err == nil {
			got, err = replayed(t, r, 0)
		}
		switch {
		case err == nil && len(got) != 40:
			t.Errorf("%s: %s has %d entries, silently", what, name, len(got))
		case err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrLost):
			t.Errorf("%s: %s: %v", what, name, err)
		}
		seen = seen || err != nil
	}
	if err := l.Close(); err != nil {
		t.Errorf("%s: close: %v", what, err)
	}
	return seen
}

func TestOtherVersions(t *testing.T) {
	for version, want := range map[byte]error{currentVersion + 1: ErrNewer, currentVersion - 1: ErrOlder} {
		d := build(t, "")
		b, err := d.Read("log/" + currentName)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(b); at += currentPage {
			n := int(binary.LittleEndian.Uint32(b[at+12:])) - 4
			b[at+8] = version
			binary.LittleEndian.PutUint32(b[at+n:], segment.Sum(0, b[at:at+n]))
		}
		d.Write("log/"+currentName, b)
		before := fmt.Sprint(d.Files())
		_, err = Open(testOptions(d, newClock()))
		wantError(t, "another version", err, want)
		if !strings.Contains(fmt.Sprint(err), fmt.Sprintf("format %d", version)) {
			t.Errorf("the version is not named: %v", err)
		}
		if after, _ := d.Read("log/" + currentName); !bytes.Equal(after, b) || fmt.Sprint(d.Files()) != before {
			t.Error("it was touched")
		}
	}
}

// TestDamagedHeaders: the headers of a room's first record and of one in the middle are damaged beyond repair. What comes after the
// newest of them is there, whether it is asked for forwards or backwards, and what is at it or before is not made up.
func TestDamagedHeaders(t *testing.T) {
	for damaged := uint64(2); damaged <= 10; damaged++ {
		d := faultdisk.New(1)
		o := testOptions(d, newClock())
		o.SegmentBytes = 64 << 10
		l := mustOpen(t, o)
		a := mustRoom(t, l, "a")
		at := make(map[uint64]int64)
		for n := uint64(1); n <= 10; n++ {
			appendUpTo(t, a, n, n)
			at[n] = int64(a.lastAt)
		}
		a.Close()
		mustClose(t, l)
		for _, n := range []uint64{1, damaged} {
			if err := d.Corrupt("log/"+segment.Name(1), at[n]+10, []byte{0x11, 0x22}); err != nil {
				t.Fatal(err)
			}
		}
		l = mustOpen(t, o)
		a = mustRoom(t, l, "a")
		first, last, err := a.Range()
		if want := min(damaged+1, 10); first != want || last != 10 || err != nil { // whether the newest can be read is not looked for
			t.Errorf("entry %d is damaged: range %d to %d, %v", damaged, first, last, err)
		}
		if damaged < 10 {
			wantReplay(t, a, damaged, 10)
		}
		for after := range damaged {
			_, err := replayed(t, a, after)
			wantError(t, fmt.Sprintf("entry %d is damaged: what comes after %d", damaged, after), err, ErrCorrupt)
		}
		next := uint64(10)
		err = a.Backward(func(e Entry) (bool, error) {
			if e.Number != next || next == damaged {
				t.Errorf("entry %d is damaged: backwards came %d, want %d", damaged, e.Number, next)
			}
			next--
			return true, nil
		})
		if next != damaged || !errors.Is(err, ErrCorrupt) {
			t.Errorf("entry %d is damaged: backwards came to %d, %v", damaged, next, err)
		}
		mustClose(t, l)
	}
}
