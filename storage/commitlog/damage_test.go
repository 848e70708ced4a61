package commitlog

// Bytes that are not what was written.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/denrooms/den/storage/faultdisk"
)

// TestStaleRecord: a record that is good but follows another one than the one before it is
// what a failed write has left.
func TestStaleRecord(t *testing.T) {
	const salt = 77
	who := identify("party", "a", "e1")
	var b []byte
	chain := uint32(salt)
	for n := uint64(1); n <= 4; n++ {
		r := record{chain: chain, number: n, key: who.key, flags: flagNames, synced: segmentStart}
		if n == 4 {
			r.chain++
		}
		b = appendRecord(b, salt, &r, who.names(), content("a", n))
		chain = r.crc
	}
	s := scan(append(b, make([]byte, 500)...), start{segmentStart, salt}, salt)
	if p := s.index.of[who.key]; p == nil || p.last != 3 {
		t.Errorf("%+v", p)
	}
	if s.damaged(b, salt) {
		t.Error("taken for damage")
	}
	if s = scan(b, start{segmentStart, salt + 1}, salt+1); s.end != segmentStart {
		t.Error("records of another segment were taken")
	}
}

// TestForgedRecord: an entry that fits its own checksums, and not the room's chain.
func TestForgedRecord(t *testing.T) {
	d := build(t, "")
	name := "log/" + segmentName(1)
	b, err := d.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	salt, err := checkSegmentHeader(b, [16]byte(b[16:32]), 1)
	if err != nil {
		t.Fatal(err)
	}
	at := segmentStart
	for n := 0; n < 4; { // the third entry of a
		r, ok := parseRecord(b[at:], salt)
		if !ok {
			t.Fatal("not a record")
		}
		at += r.size()
		if next, _ := parseRecord(b[at:], salt); next.flags&flagIndex == 0 {
			n++
		}
	}
	r, ok := parseRecord(b[at:], salt)
	if !ok || r.number != 3 || r.length == 0 {
		t.Fatalf("%+v", r)
	}
	payload := bytes.Repeat([]byte("x"), int(r.length))
	forged := appendRecord(nil, salt, &r, "", payload)
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

func TestFlippedBit(t *testing.T) {
	for _, how := range []string{"", "crashed"} {
		d := build(t, how)
		flips, seen := 0, 0
		for _, name := range d.Files() {
			size, err := d.Size(name)
			if err != nil {
				t.Fatal(err)
			}
			step := int64(9)
			if testing.Short() || raceEnabled {
				step = 29
			}
			for at := int64(0); at < min(size, 6<<10); at += step {
				c := d.Clone(uint64(at))
				if err := c.Corrupt(name, at, []byte{1 << (at % 8)}); err != nil {
					t.Fatal(err)
				}
				flips++
				if outcome(t, c, fmt.Sprintf("%q: bit %d of %s", how, 8*at+at%8, name)) {
					seen++
				}
			}
		}
		t.Logf("%q: %d flips, %d seen", how, flips, seen)
		if seen < flips/3 {
			t.Errorf("%d of %d seen", seen, flips)
		}
	}
}

// TestDamagedMiddle: bytes that are gone in the middle of what was durable are not taken for
// the end of the log. Behind the newest index nobody can say whose they were; before it the
// rooms are refused that had them.
func TestDamagedMiddle(t *testing.T) {
	d := build(t, "crashed")
	names := segmentFiles(t, d.FS(""), "log")
	name := "log/" + names[len(names)-1]
	b, err := d.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	salt, err := checkSegmentHeader(b, [16]byte(b[16:32]), uint64(len(names)))
	if err != nil {
		t.Fatal(err)
	}
	s := scan(b[segmentStart:], start{segmentStart, salt}, salt)
	last := int64(0) // where the last record begins
	for _, p := range s.index.of {
		last = max(last, int64(p.at))
	}
	newest := int64(max(parseHint(b[hintAt(0):], salt), parseHint(b[hintAt(1):], salt)))
	if newest == 0 || newest == last {
		t.Fatalf("the newest index is at %d, the last record at %d", newest, last)
	}
	tries, seen := 0, 0
	for at := int64(segmentStart); at+64 < last; at += 40 {
		c, what := d.Clone(1), fmt.Sprintf("64 bytes at %d of %d, newest index at %d", at, s.end, newest)
		damaged := append([]byte(nil), b...)
		clear(damaged[at : at+64])
		c.Write(name, damaged)
		if at+64 <= newest {
			if tries++; outcome(t, c, what) { // a filter is no loss
				seen++
			}
			continue
		}
		_, err := Open(testOptions(c, newClock()))
		wantError(t, what, err, ErrCorrupt)
	}
	if seen < tries*9/10 {
		t.Errorf("%d of %d seen", seen, tries)
	}
}

func TestOtherVersions(t *testing.T) {
	for version, want := range map[byte]error{currentVersion + 1: ErrNewer, currentVersion - 1: ErrOlder} {
		d := build(t, "")
		b, err := d.Read("log/" + currentName)
		if err != nil {
			t.Fatal(err)
		}
		b[8] = version
		b = b[:len(b)-4]
		b = binary.LittleEndian.AppendUint32(b, sum(0, b))
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
