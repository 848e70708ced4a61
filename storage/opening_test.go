package storage

import (
	"path/filepath"
	"testing"

	"github.com/denrooms/den/storage/roomfile"
)

// A panickyLog panics in one method of a room's part of it.
type panickyLog struct {
	*NodeLog
	in string
}

func (l panickyLog) Room(namespace, room, epoch string) (RoomLog, error) {
	r, err := l.NodeLog.Room(namespace, room, epoch)
	return panickyRoom{r, l.in}, err
}

type panickyRoom struct {
	RoomLog
	in string
}

func (r panickyRoom) Last() uint64 {
	r.panicIn("Last")
	return r.RoomLog.Last()
}

func (r panickyRoom) Range() (first, last uint64, err error) {
	r.panicIn("Range")
	return r.RoomLog.Range()
}

func (r panickyRoom) Release(through uint64) {
	r.panicIn("Release")
	r.RoomLog.Release(through)
}

func (r panickyRoom) panicIn(method string) {
	if r.in == method {
		panic("in " + method)
	}
}

// An Open that panics keeps neither the file's lock nor the room's part of the log, nor a connection: the room can
// be opened after it, whether its file is in use, was closed well, or is not made yet.
func TestOpenThatPanics(t *testing.T) {
	dir := t.TempDir()
	log, err := OpenLog(LogOptions{Dir: filepath.Join(dir, "_log")})
	if err != nil {
		t.Fatal(err)
	}
	b := &builder{t: t, dir: dir, log: log, pool: new(Pool)}
	for _, d := range b.build() {
		d.Fence() // its file is in use
	}
	panicked := 0
	for _, in := range []string{"Last", "Range", "Release"} {
		for _, name := range []string{clean, inUse, young, "fresh in " + in} {
			path, err := roomfile.Path(dir, "n", name)
			if err != nil {
				t.Fatal(err)
			}
			o := Options{Path: path, Namespace: "n", Room: name, Pool: b.pool, Log: panickyLog{log, in}}
			func() {
				defer func() {
					if recover() != nil {
						panicked++
					}
				}()
				d, err := Open(o)
				if err == nil {
					err = d.Close()
				}
				if err != nil {
					t.Errorf("%s, panic in %s: %v", name, in, err)
				}
			}()
			o.Log = log
			d, err := Open(o)
			if err != nil {
				t.Fatalf("%s after a panic in %s: %v", name, in, err)
			}
			d.Fence() // in use again
		}
	}
	if panicked < 6 {
		t.Errorf("%d panics: too few", panicked)
	}
	if s := log.Stats(); s.Rooms != 0 {
		t.Errorf("%d parts of the log are open", s.Rooms)
	}
	b.pool.Close()
	if err := log.Close(); err != nil {
		t.Error(err)
	}
}
