package storage

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
	"testing"

	"github.com/denrooms/den/storage/internal/nodelog"
	"github.com/denrooms/den/storage/roomfile"
)

// A pastLog is a log with parts of rooms that no file goes with.
type pastLog struct {
	*memLog
	epochs    []string // those that it keeps entries of
	failed    error    // of Epochs
	forgotten int
	fails     map[string]failing // by their epochs
}

// failing is what a part of the log fails with.
type failing struct {
	ranged, replayed error // replayed after the entries that it has
}

const pastID = "00112233445566778899aabbccddeeff"

func (l *pastLog) ID() string                                      { return pastID }
func (l *pastLog) Epochs(namespace, room string) ([]string, error) { return l.epochs, l.failed }
func (l *pastLog) Forget(namespace, room string)                   { l.forgotten++ }

func (l *pastLog) Room(namespace, room, epoch string) (RoomLog, error) {
	r, err := l.memLog.Room(namespace, room, epoch)
	return failingRoom{r, l.fails[epoch]}, err
}

type failingRoom struct {
	RoomLog
	f failing
}

func (r failingRoom) Range() (first, last uint64, err error) {
	if r.f.ranged != nil {
		return 0, 0, r.f.ranged
	}
	return r.RoomLog.Range()
}

func (r failingRoom) Replay(after uint64, do func(LogEntry) error) error {
	return errors.Join(r.RoomLog.Replay(after, do), r.f.replayed)
}

func entry1(n uint64) LogEntry {
	return LogEntry{Number: n, Seq: 10 * n, At: -int64(n), Payload: []byte(strings.Repeat("p", int(n)))}
}

// told is all that a file of entries has: the numbers by epochs, ! where entries are damaged.
func told(t *testing.T, o Options) string {
	t.Helper()
	a, err := readEntries(o)
	if err != nil {
		return err.Error()
	}
	defer a.Close()
	var text []string
	for _, epoch := range a.Epochs() {
		of := epoch[:1] + ":"
		for _, p := range a.Of(epoch) {
			if p.Damaged {
				of += " !"
				continue
			}
			e, err := a.Read(p)
			if err != nil || fmt.Sprint(e) != fmt.Sprint(entry1(p.Number)) {
				t.Errorf("entry %d is %v, %v", p.Number, e, err)
			}
			of += fmt.Sprint(" ", e.Number)
		}
		text = append(text, of)
	}
	return strings.Join(text, "; ")
}

// What is moved out of the log joins what was moved before: each entry once, in its order, and nothing after what is damaged.
func TestMoveEntries(t *testing.T) {
	a, b := strings.Repeat("a", 32), strings.Repeat("b", 32)
	type part struct {
		epoch       string
		first, last uint64
	}
	damage := failing{replayed: ErrLogMismatch}
	for name, c := range map[string]struct {
		before, now []part
		first       map[string]failing // of the first move
		fails       map[string]failing
		want        string
	}{
		"the first time":        {nil, []part{{a, 1, 3}}, nil, nil, "a: 1 2 3"},
		"from the midst":        {nil, []part{{a, 5, 6}}, nil, nil, "a: 5 6"},
		"two epochs":            {nil, []part{{b, 1, 1}, {a, 2, 3}}, nil, nil, "a: 2 3; b: 1"},
		"what follows":          {[]part{{a, 1, 3}}, []part{{a, 4, 5}}, nil, nil, "a: 1 2 3 4 5"},
		"what overlaps":         {[]part{{a, 1, 3}}, []part{{a, 2, 5}}, nil, nil, "a: 1 2 3 4 5"},
		"the same":              {[]part{{a, 1, 3}}, []part{{a, 1, 3}}, nil, nil, "a: 1 2 3"},
		"with a gap":            {[]part{{a, 1, 3}}, []part{{a, 5, 6}}, nil, nil, "a: 5 6"},
		"another epoch":         {[]part{{a, 1, 3}}, []part{{b, 1, 2}}, nil, nil, "a: 1 2 3; b: 1 2"},
		"nothing of an epoch":   {[]part{{a, 1, 3}}, []part{{a, 0, 0}}, nil, nil, "a: 1 2 3"},
		"nothing at all":        {nil, []part{{a, 0, 0}}, nil, nil, ""},
		"damaged at its end":    {nil, []part{{a, 1, 2}}, nil, map[string]failing{a: damage}, "a: 1 2 !"},
		"missing at its end":    {nil, []part{{a, 1, 2}}, nil, map[string]failing{a: {replayed: ErrLogMissing}}, "a: 1 2 !"},
		"damaged as a whole":    {nil, []part{{a, 1, 2}}, nil, map[string]failing{a: {ranged: ErrLogMismatch}}, "a: !"},
		"damaged, and old ones": {[]part{{a, 1, 3}}, []part{{a, 4, 4}}, nil, map[string]failing{a: {ranged: ErrLogMissing}}, "a: 1 2 3 !"},
		"behind damaged ones":   {[]part{{a, 1, 2}}, []part{{a, 5, 6}}, map[string]failing{a: damage}, nil, "a: 1 2 !"},
		"of another epoch":      {[]part{{a, 1, 2}}, []part{{b, 1, 1}}, map[string]failing{a: damage}, nil, "a: 1 2 !; b: 1"},
		"the disk fails":        {[]part{{a, 1, 2}}, []part{{a, 3, 3}}, nil, map[string]failing{a: {replayed: ErrIO}}, "a: 1 2"},
		"the disk fails before": {[]part{{a, 1, 2}}, []part{{a, 3, 3}}, nil, map[string]failing{a: {ranged: ErrIO}}, "a: 1 2"},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := testOptions(t).WithDefaults()
			if err != nil {
				t.Fatal(err)
			}
			move := func(parts []part, fails map[string]failing) (string, int, error) {
				log := &pastLog{memLog: newMemLog(), fails: fails}
				for _, p := range parts {
					log.epochs = append(log.epochs, p.epoch)
					room, err := log.memLog.Room(o.Namespace, o.Room, p.epoch)
					for n := p.first; n > 0 && n <= p.last; n++ {
						err = errors.Join(err, room.Append(entry1(n)))
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				o.Log = log
				path, err := moveEntries(o)
				return path, log.forgotten, err
			}
			if len(c.before) > 0 {
				if _, _, err := move(c.before, c.first); err != nil {
					t.Fatal(err)
				}
			}
			path, forgotten, err := move(c.now, c.fails)
			fails := strings.HasPrefix(name, "the disk")
			if fails != errors.Is(err, ErrIO) || fails == (err == nil) || (forgotten == 1) == fails || (path == o.Path+roomfile.EntriesSuffix) == fails {
				t.Errorf("moved to %q, the log forgot %d times: %v", path, forgotten, err)
			}
			if got := told(t, o); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if there, err := roomfile.Exists(o.FS, o.Path+roomfile.EntriesSuffix+".new"); err != nil || there {
				t.Errorf("a file is left: %v, %v", there, err)
			}
		})
	}
}

// Where there is nothing to move, or it cannot be told, nothing is made and nothing forgotten.
func TestMoveEntriesNothing(t *testing.T) {
	o, err := testOptions(t).WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	trouble := errors.New("trouble")
	for name, c := range map[string]struct {
		log  Log
		want error
	}{
		"no epoch":                        {&pastLog{memLog: newMemLog()}, nil},
		"an error":                        {&pastLog{memLog: newMemLog(), epochs: []string{strings.Repeat("a", 32)}, failed: trouble}, trouble},
		"an epoch that is none":           {&pastLog{memLog: newMemLog(), epochs: []string{"xyz"}}, ErrMisuse},
		"a short epoch":                   {&pastLog{memLog: newMemLog(), epochs: []string{"aabb"}}, ErrMisuse},
		"a log that does not keep them":   {newMemLog(), nil},
		"a log whose ID is not 32 digits": {struct{ forgettingLog }{forgettingLog{newMemLog()}}, ErrMisuse},
	} {
		o.Log = c.log
		if l, is := c.log.(*pastLog); is && len(l.epochs) == 1 {
			room, err := l.memLog.Room(o.Namespace, o.Room, l.epochs[0])
			if err = errors.Join(err, room.Append(entry1(1))); err != nil {
				t.Fatal(err)
			}
		}
		path, err := moveEntries(o)
		if path != "" || !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %q, %v", name, path, err)
		}
		if l, is := c.log.(*pastLog); is && l.forgotten > 0 {
			t.Errorf("%s: forgotten", name)
		}
		for _, suffix := range []string{"", ".new"} {
			if there, err := roomfile.Exists(o.FS, o.Path+roomfile.EntriesSuffix+suffix); err != nil || there {
				t.Errorf("%s: there is a file, %v", name, err)
			}
		}
	}
}

// forgettingLog has an ID that is not a log's.
type forgettingLog struct{ *memLog }

func (forgettingLog) Epochs(namespace, room string) ([]string, error) {
	return []string{strings.Repeat("a", 32)}, nil
}
func (forgettingLog) Forget(namespace, room string) {}

// The entries that were moved come before those of the log: as one part of it, until the room's file has them.
func TestPatchedLog(t *testing.T) {
	o, err := testOptions(t).WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	epoch := strings.Repeat("a", 32)
	log := &pastLog{memLog: newMemLog(), epochs: []string{epoch}}
	o.Log = log
	fill := func(first, last uint64) RoomLog {
		log.memLog = newMemLog()
		room, err := log.memLog.Room(o.Namespace, o.Room, epoch)
		for n := first; n > 0 && n <= last; n++ {
			err = errors.Join(err, room.Append(entry1(n)))
		}
		if err != nil {
			t.Fatal(err)
		}
		return room
	}
	look := func(room RoomLog) string {
		first, last, err := room.Range()
		text := fmt.Sprintf("%d to %d, %d, %v;", first, last, room.Last(), err)
		for _, after := range []uint64{0, 2, 3, 4} {
			text += fmt.Sprintf(" after %d:", after)
			if err := room.Replay(after, func(e LogEntry) error { text += fmt.Sprint(" ", e.Number); return nil }); err != nil {
				text += " " + err.Error()
			}
		}
		return text
	}
	for _, c := range []struct {
		first, last uint64 // of the log
		reached     uint64 // by the room's file
		want        string
	}{
		{0, 0, 0, "1 to 3, 3, <nil>; after 0: 1 2 3 after 2: 3 after 3: after 4:"},
		{4, 5, 0, "1 to 5, 5, <nil>; after 0: 1 2 3 4 5 after 2: 3 4 5 after 3: 4 5 after 4: 5"},
		{2, 5, 2, "1 to 5, 5, <nil>; after 0: 1 2 3 4 5 after 2: 3 4 5 after 3: 4 5 after 4: 5"},
		{4, 5, 3, "4 to 5, 5, <nil>; after 0: 4 5 after 2: 4 5 after 3: 4 5 after 4: 5"},
		{4, 5, 9, "4 to 5, 5, <nil>; after 0: 4 5 after 2: 4 5 after 3: 4 5 after 4: 5"},
	} {
		fill(1, 3)
		if _, err := moveEntries(o); err != nil {
			t.Fatal(err)
		}
		a, err := readEntries(o)
		if err != nil {
			t.Fatal(err)
		}
		own := fill(c.first, c.last)
		room := nodelog.WithMoved(a, own, epoch, c.reached)
		if got := look(room); got != c.want {
			t.Errorf("the log from %d, the file at %d:\n%s\nwant\n%s", c.first, c.reached, got, c.want)
		}
		if nodelog.Plain(room) != own {
			t.Error("the log's own part is another")
		}
		patched := room != own
		if patched != (c.reached < 3) {
			t.Errorf("the file at %d: patched %v", c.reached, patched)
		}
		if other := nodelog.WithMoved(a, own, strings.Repeat("b", 32), 0); other != own {
			t.Error("of another epoch there are entries")
		}
		stop := errors.New("stop")
		if err := room.Replay(0, func(LogEntry) error { return stop }); err != stop && c.last > 0 {
			t.Errorf("replayed with %v", err)
		}
		if patched {
			room.Release(2)
			if there, err := roomfile.Exists(o.FS, o.Path+roomfile.EntriesSuffix); err != nil || !there {
				t.Errorf("released through 2: the file is there: %v, %v", there, err)
			}
			room.Release(3)
		}
		if there, err := roomfile.Exists(o.FS, o.Path+roomfile.EntriesSuffix); err != nil || there {
			t.Errorf("released through 3, or by the room's file: the file is there: %v, %v", there, err)
		}
		if patched && own.(*memRoom).through != 3 {
			t.Errorf("the log released through %d", own.(*memRoom).through)
		}
		a.Close()
	}

	fill(1, 3)
	log.fails = map[string]failing{epoch: {replayed: ErrLogMismatch}}
	if _, err := moveEntries(o); err != nil {
		t.Fatal(err)
	}
	a, err := readEntries(o)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	room := nodelog.WithMoved(a, fill(9, 9), epoch, 9)
	if _, _, err := room.Range(); !errors.Is(err, ErrLogMismatch) {
		t.Errorf("the range of damaged entries: %v", err)
	}
	if err := room.Replay(0, func(LogEntry) error { return nil }); !errors.Is(err, ErrLogMismatch) {
		t.Errorf("damaged entries are replayed: %v", err)
	}
	if room.Last() < 1<<60 {
		t.Errorf("whoever asks for the last of them does not find out: %d", room.Last())
	}
	room.Release(1 << 60)
	if there, err := roomfile.Exists(o.FS, o.Path+roomfile.EntriesSuffix); err != nil || !there {
		t.Error("damaged entries are gone without a restore")
	}
}

// A file of entries that is damaged anywhere, or cut, is refused as corrupt, and so is one that ends too late; a newer one is refused as such.
func TestReadEntries(t *testing.T) {
	o, err := testOptions(t).WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	epoch := strings.Repeat("a", 32)
	log := &pastLog{memLog: newMemLog(), epochs: []string{epoch}}
	room, _ := log.memLog.Room(o.Namespace, o.Room, epoch)
	if err := errors.Join(room.Append(entry1(1)), room.Append(entry1(2))); err != nil {
		t.Fatal(err)
	}
	o.Log = log
	if _, err := moveEntries(o); err != nil {
		t.Fatal(err)
	}
	path := o.Path + roomfile.EntriesSuffix
	whole := fileContent(t, path)
	if len(whole) != 32+2*52+3+8 {
		t.Fatalf("%d bytes", len(whole))
	}
	for i := range len(whole) {
		b := []byte(whole)
		b[i] ^= 0x10
		write(t, path, string(b))
		if _, err := readEntries(o); !errors.Is(err, ErrCorrupt) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		write(t, path, whole[:i])
		if _, err := readEntries(o); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	newer := append([]byte(whole[:8]), 2, 0, 0, 0)
	newer = append(newer, whole[12:28]...)
	sum := crc32.Checksum(newer, crc32.MakeTable(crc32.Castagnoli))
	newer = append(newer, byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24))
	write(t, path, string(newer)+whole[32:])
	if _, err := readEntries(o); !errors.Is(err, ErrNewer) || errors.Is(err, ErrCorrupt) {
		t.Errorf("a newer one: %v", err)
	}
	write(t, path, whole)
	if got := told(t, o); got != "a: 1 2" {
		t.Error(got)
	}
	o.Log = nil
	if _, err := readEntries(o); !errors.Is(err, ErrLogMissing) {
		t.Errorf("without a log: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	a, err := readEntries(o)
	if a != nil || err != nil {
		t.Errorf("none: %v, %v", a, err)
	}
	if a.Close(); a.Epochs() != nil || a.Of(epoch) != nil {
		t.Error("none has entries")
	}
}
