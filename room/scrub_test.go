package room_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/vfs"
)

// scrubPeriod is longer than the time in which each file is scrubbed.
const scrubPeriod = 31 * 24 * time.Hour

// A scrubHost is a host with the room shopKey, of which one page can be damaged.
type scrubHost struct {
	*roomtest.Host
	t     *testing.T
	probe *probe
	alice *roomtest.Client
	path  string
	log   lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// told returns the lines of the log that are of the scrub.
func (s *scrubHost) told() (lines []string) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	for line := range strings.Lines(s.log.b.String()) {
		if strings.Contains(line, "scrub") {
			lines = append(lines, line)
		}
	}
	return lines
}

func newScrubHost(t *testing.T, opts ...roomtest.Option) *scrubHost {
	t.Helper()
	s := &scrubHost{t: t}
	dir := t.TempDir()
	s.Host, s.probe = open(t, append([]roomtest.Option{func(o *room.Options) {
		o.Dir, o.Logger, o.ScrubEvery = dir, slog.New(slog.NewTextHandler(&s.log, nil)), 0
		o.ActionTimeout = 10_000 * time.Hour // the clock goes on while a room answers the scrub
	}}, opts...)...)
	var err error
	if s.path, err = roomfile.Path(dir, shopKey.Namespace, shopKey.Room); err != nil {
		t.Fatal(err)
	}
	s.alice = s.Join(shopKey.Namespace, shopKey.Room, "alice")
	mustSucceed(t, s.alice.Do("items", "sql", strings.NewReplacer("700", "100", "zeroblob(4000)", "printf('%4000s', '')").Replace(fillUp)+`; INSERT INTO items VALUES ('a', 'x', 1, 1, NULL)`))
	s.SleepRoom(shopKey.Namespace, shopKey.Room)
	return s
}

// flip flips a bit in the last page of the table heap, which no statement of the test needs, and returns the page's number.
func (s *scrubHost) flip() int {
	s.t.Helper()
	data, err := os.ReadFile(s.path)
	if err != nil {
		s.t.Fatal(err)
	}
	page := bytes.LastIndex(data, bytes.Repeat([]byte{' '}, 1500))/4096 + 1
	data[(page-1)*4096+1000] ^= 4
	file, err := os.OpenFile(s.path, os.O_WRONLY, 0) // not another file: the room may have it open
	if err != nil {
		s.t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt(data[(page-1)*4096:page*4096], int64(page-1)*4096); err != nil {
		s.t.Fatal(err)
	}
	return page
}

func (s *scrubHost) isMarked() bool {
	s.t.Helper()
	there, err := roomfile.Exists(storage.HostFS(), s.path+roomfile.SuspectSuffix)
	if err != nil {
		s.t.Fatal(err)
	}
	return there
}

// wantDamage checks that the operator was told once of a page.
func (s *scrubHost) wantDamage(page int) {
	s.t.Helper()
	lines := s.told()
	if n := s.Damaged(); n != 1 || len(lines) != 1 {
		s.t.Fatalf("%d damaged pages were found, and the log has %q", n, lines)
	}
	for _, part := range []string{"level=ERROR", "namespace=shop", "room=r ", fmt.Sprintf("page %d of %s does not have its checksum", page, s.path), "hint="} {
		if !strings.Contains(lines[0], part) {
			s.t.Errorf("the log does not have %q: %s", part, lines[0])
		}
	}
}

// A page that the disk has changed in the file of a room that sleeps is found within the period, once, and the room does not wake. The
// next opening writes the file again if the page can be read by then, and else refuses the room.
func TestScrubAsleep(t *testing.T) {
	for _, heals := range []bool{true, false} {
		s := newScrubHost(t)
		starts := s.probe.starts.Load()
		s.Advance(scrubPeriod)
		if lines := s.told(); s.Damaged() != 0 || len(lines) != 0 {
			t.Fatalf("a whole file is called damaged: %q", lines)
		}
		page := s.flip()
		s.Advance(scrubPeriod)
		s.wantDamage(page)
		s.Advance(scrubPeriod)
		s.wantDamage(page)
		if n := s.probe.starts.Load() - starts; n != 0 || s.Awake() != 0 {
			t.Errorf("the room had %d lives, and %d rooms are awake", n, s.Awake())
		}
		if all := s.Failures(); !s.isMarked() || len(all) != 1 || all[0].Key != shopKey {
			t.Errorf("the file is not marked, or the failures are %v", all)
		}
		if heals {
			s.flip()
			mustSucceed(t, s.alice.Do("items", "add", object{"id": "b", "name": "x"}))
			if got := ids(s.alice.Sync("items")); got != "a b" || s.isMarked() || len(s.Failures()) != 0 {
				t.Errorf("the room has %q, and the failures are %v", got, s.Failures())
			}
		} else {
			mustRefuse(t, s.alice.Do("items", "add", object{"id": "b", "name": "x"}), "storage_unavailable")
		}
	}
}

// A damaged page of a room that never sleeps is found too. The room goes on, and its next life meets what it would meet if an action
// had needed the page.
func TestScrubAwake(t *testing.T) {
	s := newScrubHost(t, func(o *room.Options) { o.IdleAfter = -1 })
	mustSucceed(t, s.alice.Do("items", "add", object{"id": "b", "name": "x"}))
	lives := s.probe.starts.Load()
	s.Advance(scrubPeriod)
	if lines := s.told(); len(lines) != 0 {
		t.Fatalf("a whole file is called damaged: %q", lines)
	}
	page := s.flip()
	for range 2 * 31 {
		s.Advance(24 * time.Hour)
		s.settle()
	}
	if n := s.Damaged(); n != 2 { // it is not marked yet
		t.Errorf("%d damaged pages were found in two periods", n)
	}
	if lines := s.told(); len(lines) == 0 || !strings.Contains(lines[0], fmt.Sprintf("page %d of %s", page, s.path)) {
		t.Errorf("the log has %q", lines)
	}
	mustSucceed(t, s.alice.Do("items", "add", object{"id": "c", "name": "x"}))
	if n := s.probe.starts.Load() - lives; n != 0 || s.isMarked() {
		t.Errorf("the room had %d lives more, or was marked", n)
	}
	s.SleepRoom("shop", "r")
	if !s.isMarked() {
		t.Error("the file is not marked")
	}
	mustRefuse(t, s.alice.Do("items", "add", object{"id": "d", "name": "x"}), "storage_unavailable")
}

// settle lets rooms answer the scrub, and the scrub go on with what it is late with.
func (s *scrubHost) settle() {
	s.t.Helper()
	for range 20 {
		if err := s.Quiet(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
		s.Advance(time.Second)
	}
}

// The scrub keeps no room awake.
func TestScrubIsNoUse(t *testing.T) {
	s := newScrubHost(t, func(o *room.Options) { o.ScrubEvery = time.Second })
	s.Advance(2 * time.Minute) // the scrub has begun
	mustSucceed(t, s.alice.Do("items", "add", object{"id": "b", "name": "x"}))
	for range 1000 { // a room that has just been asked is left for another 10 s
		s.Advance(500 * time.Millisecond)
		if s.Awake() == 0 {
			return
		}
	}
	t.Error("the room does not sleep")
}

// A scrubFS notes what is read of rooms' files, by the clock's time.
type scrubFS struct {
	storage.FS
	clock func() time.Time
	first func(path string) // called after the first piece of a file was read; nil: nothing

	mu    sync.Mutex
	opens map[string][]time.Time // when the first piece of a file was read
	reads map[time.Time]int      // bytes
}

func (f *scrubFS) Open(path string, flag int) (vfs.File, error) {
	file, err := f.FS.Open(path, flag)
	if err == nil && flag == os.O_RDONLY && strings.HasSuffix(path, ".db") {
		file = &scrubFile{file, f, path}
	}
	return file, err
}

type scrubFile struct {
	vfs.File
	fs   *scrubFS
	path string
}

func (f *scrubFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	if len(p) > 100 {
		f.fs.mu.Lock()
		defer f.fs.mu.Unlock()
		now := f.fs.clock()
		f.fs.reads[now] += n
		if off == 0 && f.fs.first != nil {
			f.fs.first(f.path)
		}
		if off == 0 {
			f.fs.opens[f.path] = append(f.fs.opens[f.path], now)
		}
	}
	return n, err
}

// Each file is read once in a period, however often the host is started again, and never more than 4 MiB in a second.
func TestScrubReadsAllSlowly(t *testing.T) {
	const rooms = 60
	f := &scrubFS{FS: storage.HostFS(), opens: map[string][]time.Time{}, reads: map[time.Time]int{}}
	dir, period := t.TempDir(), 257*10*time.Minute
	h, _ := open(t, func(o *room.Options) { o.Dir, o.FS, f.clock, o.ScrubEvery = dir, f, o.Clock.Now, period })
	for i := range rooms {
		alice := h.Join("shop", fmt.Sprint("room", i), "alice")
		mustSucceed(t, alice.Do("items", "add", object{"id": "a", "name": "x"}))
		if i == 0 {
			mustSucceed(t, alice.Do("items", "sql", strings.ReplaceAll(fillUp, "700", "2500")))
		}
		alice.Leave()
	}
	h.Reopen()
	h.Advance(time.Minute) // what a start reads
	began := h.Clock.Now()
	clear(f.opens)
	clear(f.reads)
	for h.Clock.Now().Sub(began) < 2*period {
		h.Advance(period / 19)
		h.Reopen() // which may be in the middle of a directory
		h.Advance(time.Minute)
	}
	if len(f.opens) != rooms {
		t.Errorf("%d of %d files were read", len(f.opens), rooms)
	}
	for path, times := range f.opens {
		for i, at := range append(times, h.Clock.Now()) {
			before := began
			if i > 0 {
				before = times[i-1]
			}
			if pause := at.Sub(before); pause > period+10*time.Minute {
				t.Errorf("%s was not read for %v", path, pause)
			}
		}
	}
	total, most := 0, 0
	for at := range f.reads {
		second := 0
		for other, n := range f.reads {
			if d := other.Sub(at); d >= 0 && d < time.Second {
				second += n
			}
		}
		total, most = total+f.reads[at], max(most, second)
	}
	if most > 4<<20 || most < 3<<20 || total < 20<<20 {
		t.Errorf("of %d bytes up to %d were read in a second", total, most)
	}
}

// With a negative ScrubEvery nothing is read.
func TestScrubNever(t *testing.T) {
	s := newScrubHost(t, func(o *room.Options) { o.ScrubEvery = -1 })
	s.flip()
	s.Advance(scrubPeriod)
	if lines := s.told(); s.Damaged() != 0 || len(lines) != 0 {
		t.Errorf("damage was found: %q", lines)
	}
}

// A countingFS counts the pieces that the host reads of rooms' files.
type countingFS struct {
	storage.FS
	reads atomic.Int64
}

func (f *countingFS) Open(path string, flag int) (vfs.File, error) {
	file, err := f.FS.Open(path, flag)
	if err == nil && strings.HasSuffix(path, ".db") {
		file = &countedFile{file, f}
	}
	return file, err
}

type countedFile struct {
	vfs.File
	fs *countingFS
}

func (f *countedFile) ReadAt(p []byte, off int64) (int, error) {
	if len(p) > 4096 {
		f.fs.reads.Add(1)
	}
	return f.File.ReadAt(p, off)
}

// A hurriedClock is the machine's, but the scrub begins at once and makes no pauses.
type hurriedClock struct{ room.Clock }

func (c hurriedClock) AfterFunc(d time.Duration, f func()) room.Timer {
	if d == time.Minute || d == time.Second/64 {
		d = 0
	}
	return c.Clock.AfterFunc(d, f)
}

// Rooms that write their files, sleep, are compacted and are restored while all files are scrubbed without a pause are never called
// damaged, and no room is kept from waking. A shutdown ends the scrub.
func TestScrubBesideEverything(t *testing.T) {
	f := &countingFS{FS: storage.HostFS()}
	s := newScrubHost(t, func(o *room.Options) {
		o.FS, o.CheckpointBytes, o.ScrubEvery, o.IdleAfter, o.Clock = f, 4<<10, time.Millisecond, -1, hurriedClock{room.SystemClock()}
	})
	backup := t.TempDir() + "/backup.db"
	if err := s.Backup(t.Context(), shopKey, backup); err != nil {
		t.Fatal(err)
	}
	var workers sync.WaitGroup
	for i := range 3 {
		key := room.Key{Namespace: "shop", Room: fmt.Sprint("busy", i)}
		workers.Go(func() {
			alice := s.Join(key.Namespace, key.Room, "alice")
			for n := range 30 {
				if e := alice.Do("items", "sql", `CREATE TABLE IF NOT EXISTS noise (x); INSERT INTO noise VALUES (randomblob(30000)); UPDATE noise SET x = randomblob(length(x)) WHERE rowid % 3 = 0`); e.Kind != "success" {
					t.Errorf("%v: %s", key, e.Data)
					return
				}
				var err error
				switch n % 5 {
				case 1:
					err = s.Sleep(t.Context(), key)
				case 2:
					if _, err = s.Compact(t.Context(), key); err != nil && strings.Contains(err.Error(), "in use") {
						err = nil
					}
				case 4:
					_, err = s.Restore(t.Context(), key, backup)
				}
				if err != nil {
					t.Errorf("%v: %v", key, err)
					return
				}
			}
		})
	}
	workers.Wait()
	reads := f.reads.Load()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	after := f.reads.Load()
	time.Sleep(50 * time.Millisecond) // what would be read is read all the time
	if n := f.reads.Load(); n != after {
		t.Errorf("%d pieces were read after the shutdown", n-after)
	}
	if lines := s.told(); s.Damaged() != 0 || len(lines) != 0 {
		t.Errorf("whole files are called damaged: %q", lines)
	}
	if reads < 20 {
		t.Errorf("%d pieces were read: nothing is tested", reads)
	}
}

// A file that an operator removes between two pieces is no fault.
func TestScrubOfAFileThatGoes(t *testing.T) {
	f := &scrubFS{FS: storage.HostFS(), opens: map[string][]time.Time{}, reads: map[time.Time]int{}}
	s := newScrubHost(t, func(o *room.Options) { o.FS, f.clock = f, o.Clock.Now })
	removed := false
	f.first = func(path string) {
		if path == s.path {
			removed = os.Remove(path) == nil
		}
	}
	s.Advance(scrubPeriod)
	if lines := s.told(); !removed || s.Damaged() != 0 || len(lines) != 0 {
		t.Errorf("removed: %v, and the log has %q", removed, lines)
	}
}

// BenchmarkScrubBeside measures an action of a room while another file is scrubbed all the time, at scrubRate, and without that, by turns
// of 50 actions. "ratio" is the first in parts of the second.
func BenchmarkScrubBeside(b *testing.B) {
	clock := &gatedClock{Clock: room.SystemClock()}
	h := roomtest.New(b, func(h *room.Host) error {
		return h.Register("shop", func() room.Handler { return &shop{probe: new(probe)} }, room.Action("add", (*shop).Add))
	}, func(o *room.Options) { o.ScrubEvery, o.Clock = time.Millisecond, clock })
	big := h.Join("shop", "big", "bob")
	for range 8 {
		big.Do("items", "sql", fillUp)
	}
	h.SleepRoom("shop", "big")
	alice := h.Join("shop", "r", "alice")
	var took [2][]time.Duration // with the scrub, and without
	for n := 0; b.Loop(); n++ {
		which := n / 50 % 2
		clock.shut.Store(which == 1)
		began := time.Now()
		if e := alice.Do("items", "add", object{"id": fmt.Sprint(n), "name": "x"}); e.Kind != "success" {
			b.Fatalf("%s", e.Data)
		}
		took[which] = append(took[which], time.Since(began))
	}
	if len(took[1]) == 0 {
		return
	}
	for _, part := range []int{50, 99} {
		slices.Sort(took[0])
		slices.Sort(took[1])
		b.ReportMetric(float64(took[0][len(took[0])*part/100])/float64(took[1][len(took[1])*part/100]), fmt.Sprintf("ratio-p%d", part))
	}
}

// A gatedClock is the machine's, but the scrub begins at once, and stands still while the gate is shut.
type gatedClock struct {
	room.Clock
	shut atomic.Bool
}

func (c *gatedClock) AfterFunc(d time.Duration, f func()) room.Timer {
	if d != time.Minute && d != time.Second/64 {
		return c.Clock.AfterFunc(d, f)
	}
	return c.Clock.AfterFunc(min(d, time.Second/64), func() {
		if c.shut.Load() {
			c.AfterFunc(d, f)
			return
		}
		f()
	})
}
