package commitlog

import (
	"encoding/binary"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/faultdisk"
)

// fullCurrent is a CURRENT that has something of everything.
func fullCurrent() *current {
	c := &current{
		clean: true, relaxed: true, id: [16]byte{1, 2, 3}, generation: 7, first: 4, active: 6, crashed: crashRange{generation: 5, from: 4, through: 5},
		floor: 4, relaxedCrash: 3, clock: clock{elapsed: 11, wall: 12},
		pins:     []pin{{id: segment.Identify("party", "a", "e1"), segment: 4, last: 9}, {id: segment.Identify("party", "b", "e2"), segment: 5, last: 8}},
		nameless: map[segment.Key]uint64{{1}: 10, {2}: 20},
	}
	for n := range uint64(2) {
		s := &logSegment{
			File: segment.File{Number: 4 + n, Salt: 21 + uint32(n), Size: 9000}, tail: 8000, hole: 3000, sealedAt: 13, generation: 6,
			indexes: []*index{{Index: segment.Index{Offset: 4000, Rooms: 2}}, {Index: segment.Index{Offset: 8000, Rooms: 3}}},
		}
		s.abandoned.Store(n == 1)
		c.segments = append(c.segments, s)
	}
	return c
}

// TestCurrentIsReadAsWritten: nothing of it is lost or confused.
func TestCurrentIsReadAsWritten(t *testing.T) {
	want := fullCurrent()
	got, damaged, err := parseCurrent(want.file())
	if err != nil || damaged || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, %v\nwant %+v", got, damaged, err, want)
	}
	want = &current{first: 1, floor: 1, nameless: make(map[segment.Key]uint64)}
	if got, _, err := parseCurrent(want.file()); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

// TestCurrentThatDoesNotFit: parts that contradict each other under a checksum that is right are told as damage, and none of them is
// believed.
func TestCurrentThatDoesNotFit(t *testing.T) {
	le := binary.LittleEndian
	const rows, pins = currentHeaderSize, currentHeaderSize + 2*(currentRowSize+2*currentIndexSize)
	for what, change := range map[string]func(b []byte) []byte{
		"no first segment":          func(b []byte) []byte { le.PutUint64(b[48:], 0); return b },
		"a hole before the active":  func(b []byte) []byte { le.PutUint64(b[56:], 7); return b },
		"a segment too many":        func(b []byte) []byte { le.PutUint32(b[120:], 3); le.PutUint64(b[56:], 7); return b },
		"a thousand segments":       func(b []byte) []byte { le.PutUint32(b[120:], 1000); le.PutUint64(b[56:], 1004); return b },
		"a pin too many":            func(b []byte) []byte { le.PutUint32(b[124:], 3); return b },
		"a pin too few":             func(b []byte) []byte { le.PutUint32(b[124:], 1); return b },
		"a room too many":           func(b []byte) []byte { le.PutUint32(b[20:], 3); return b },
		"a room too few":            func(b []byte) []byte { le.PutUint32(b[20:], 1); return b },
		"billions of rooms":         func(b []byte) []byte { le.PutUint32(b[20:], 1<<32-1); return b },
		"indexes without end":       func(b []byte) []byte { le.PutUint32(b[rows+32:], 1<<32-1); return b },
		"an index without rooms":    func(b []byte) []byte { le.PutUint32(b[rows+currentRowSize+4:], 0); return b },
		"names that are no names":   func(b []byte) []byte { clear(b[pins+pinHeader : pins+pinHeader+8]); return b },
		"names without end":         func(b []byte) []byte { le.PutUint32(b[pins+16:], 1<<31); return b },
		"a header that is cut":      func(b []byte) []byte { return b[:currentHeaderSize-8] },
		"nothing behind the header": func(b []byte) []byte { return b[:currentHeaderSize] },
		"a byte too many":           func(b []byte) []byte { return append(b, 0) },
		"no magic":                  func(b []byte) []byte { b[0]++; return b },
	} {
		whole := fullCurrent().encode()
		b := change(whole[:len(whole)-4])
		le.PutUint32(b[12:], uint32(len(b)+4))
		b = le.AppendUint32(b, segment.Sum(0, b))
		if c, _, err := parseCurrent(b); c != nil || !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %+v, %v", what, c, err)
		}
	}
	for n := range currentHeaderSize {
		if c, _, err := parseCurrent(fullCurrent().encode()[:n]); c != nil || !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes: %+v, %v", n, c, err)
		}
	}
}

// TestVerifyOnAFailingDisk: where the disk fails while a log is verified the caller is told. It is not said that a part is well that was
// not read.
func TestVerifyOnAFailingDisk(t *testing.T) {
	disk := build(t, "crashed")
	segments := len(segmentFiles(t, disk.FS(""), "log"))
	failed := 0
	for _, without := range []bool{false, true} {
		if without {
			if err := disk.Remove("log/" + currentName); err != nil {
				t.Fatal(err)
			}
		}
		look := func(d *faultdisk.Disk) (v Verified, problems int, err error) {
			v, err = Verify(Options{FS: d.FS(""), Dir: "log"}, func(Problem) { problems++ })
			return v, problems, err
		}
		want, usual, err := look(disk)
		if err != nil || want.Entries != 80 || want.Segments != segments {
			t.Fatalf("%+v, %v", want, err)
		}
		for _, op := range []faultdisk.Op{faultdisk.OpStat, faultdisk.OpList, faultdisk.OpOpen, faultdisk.OpRead} {
			for after := range 30 {
				d := disk.Clone(1)
				d.Fail(faultdisk.Fault{Op: op, After: after})
				got, problems, err := look(d)
				switch {
				case err != nil && !errors.Is(err, ErrIO):
					t.Errorf("%v fails after %d: %v", op, after, err)
				case err != nil:
					failed++
				case got != want && problems == usual:
					t.Errorf("%v fails after %d: %+v, and nothing is wrong; want %+v", op, after, got, want)
				}
			}
		}
	}
	if failed < 20 {
		t.Errorf("only %d failures were told", failed)
	}
}

// TestClock: the log's age is the sum of the steps, each between nothing and a day.
func TestClock(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	c := clock{wall: now.UnixMilli()}
	for _, step := range []struct {
		by   time.Duration
		want time.Duration
	}{
		{0, 0}, {time.Second, time.Second}, {-time.Hour, time.Second}, {time.Hour, time.Second + time.Hour}, {24 * time.Hour, time.Second + 25*time.Hour},
		{24*time.Hour + time.Millisecond, time.Second + 49*time.Hour}, {1000 * time.Hour, time.Second + 73*time.Hour},
	} {
		now = now.Add(step.by)
		if got := c.read(now); got != step.want.Milliseconds() {
			t.Errorf("after a step of %v: %d ms, want %v", step.by, got, step.want)
		}
	}
}
