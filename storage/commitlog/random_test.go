package commitlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/denrooms/den/storage/faultdisk"
)

// mirror is what a room should find in the log.
type mirror struct {
	name     string
	room     *Room
	acked    uint64 // the newest number that Append has acknowledged
	tried    uint64 // the newest that was given to it
	released uint64
}

// history runs random operations on a disk that fails and loses power.
type history struct {
	t      *testing.T
	rng    *rand.Rand
	disk   *faultdisk.Disk
	clock  *stopped
	o      Options
	log    *Log
	rooms  []*mirror
	events []string
	seen   *tally
}

type tally struct {
	appends, refused, unwritten, cuts, clean, heals, deleted int

	indexes int // written into segments before their end
	skipped int // opens that began at an index
	torn    int // opens at which a hint led to an index that was not whole
}

func (h *history) note(format string, args ...any) {
	h.events = append(h.events, fmt.Sprintf(format, args...))
}

func (h *history) fatal(format string, args ...any) {
	h.t.Helper()
	tail := h.events[max(0, len(h.events)-25):]
	for _, e := range tail {
		h.t.Log(e)
	}
	h.t.Fatalf(format, args...)
}

// TestInvariantGateLogHistories: whatever happens, what was acknowledged and not released is replayed,
// each entry once and as it was, and nothing that was never appended.
func TestInvariantGateLogHistories(t *testing.T) {
	seeds := 600
	if testing.Short() || raceEnabled {
		seeds = 60
	}
	var seen tally
	for seed := range uint64(seeds) {
		if !t.Run(fmt.Sprint("seed", seed), func(t *testing.T) { runHistory(t, seed, &seen) }) {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%+v", seen)
	if n := seeds / 10; seen.appends < 100*n || seen.refused < n || seen.cuts < n || seen.clean < n || seen.heals < n/4 || seen.deleted < n ||
		seen.indexes < 100*n || seen.skipped < 10*n || seen.torn < n/4 {
		t.Errorf("the histories are too tame: %+v", seen)
	}
}

func runHistory(t *testing.T, seed uint64, seen *tally) {
	rng := rand.New(rand.NewPCG(seed, 99))
	var traits []faultdisk.Trait
	if seed%3 == 0 {
		traits = append(traits, faultdisk.PowersafeOverwrite)
	}
	h := &history{t: t, rng: rng, disk: faultdisk.New(seed, traits...), clock: newClock(), seen: seen}
	h.o = testOptions(h.disk, h.clock)
	h.o.SegmentBytes = segmentStart + int64(1+rng.IntN(8))<<10
	h.o.IndexBytes = int64(100 << rng.IntN(6))
	if rng.IntN(3) == 0 {
		h.o.History = time.Duration(rng.IntN(100)) * time.Second
	}
	for i := range 1 + rng.IntN(8) {
		h.rooms = append(h.rooms, &mirror{name: fmt.Sprint("room", i)})
	}
	h.open()
	for range 300 {
		h.step()
	}
	h.disk.Heal()
	h.restart()
	for _, m := range h.rooms {
		if !h.ready(m) {
			h.fatal("%s cannot be opened", m.name)
		}
		m.room.Release(m.acked)
		m.released = m.acked
	}
	for range h.log.Unrecovered {
		h.fatal("all was released and something is to be recovered")
	}
	h.clock.now = h.clock.now.Add(time.Hour)
	h.rooms[0].room.Release(h.rooms[0].acked)
	if s := h.log.Stats(); s.Segments > 1 || s.Pinned > 0 || s.Filters > 0 {
		h.fatal("all was released: %+v", s)
	}
	mustClose(t, h.log)
}

func (h *history) step() {
	m := h.rooms[h.rng.IntN(len(h.rooms))]
	h.clock.now = h.clock.now.Add(time.Duration(h.rng.IntN(3)) * time.Second)
	switch p := h.rng.IntN(100); {
	case p < 70:
		h.append(m)
	case p < 80:
		h.release(m)
	case p < 86:
		h.check(m)
	case p < 90:
		if m.room != nil {
			h.note("close %s", m.name)
			m.room.Close()
			m.room = nil
		}
	case p < 94:
		h.fault()
	case p < 96:
		n := 1 + h.rng.IntN(40)
		h.note("power cut after %d", n)
		h.disk.CrashAfter(n)
	case p < 98:
		h.disk.Crash()
		h.seen.cuts++
		h.restart()
	default:
		h.restart()
	}
}

func (h *history) fault() {
	f := faultdisk.Fault{Op: faultdisk.OpWrite, Err: syscall.ENOSPC, Times: 1 + h.rng.IntN(3), After: h.rng.IntN(4)}
	switch h.rng.IntN(4) {
	case 0:
		f.Op, f.Err = faultdisk.OpSync, syscall.EIO
	case 1:
		f.Err = syscall.EIO
	case 2:
		f.Op, f.Err = []faultdisk.Op{faultdisk.OpSyncDir, faultdisk.OpRename, faultdisk.OpDelete, faultdisk.OpTruncate, faultdisk.OpOpen}[h.rng.IntN(5)], syscall.EIO
	}
	h.note("fault %v", f)
	h.disk.Fail(f)
}

// restart closes the log as well as it can, and opens it again.
func (h *history) restart() {
	s := h.log.Stats()
	h.seen.heals += int(s.Healed)
	h.seen.indexes += int(s.Indexes)
	err := h.log.Close()
	h.note("closed: %v", err)
	if err == nil {
		h.seen.clean++
	}
	for _, m := range h.rooms {
		m.room = nil
	}
	h.open()
}

func (h *history) open() {
	for range 50 {
		if err := h.disk.Restart(); err != nil {
			h.fatal("%v", err)
		}
		torn := h.tornIndexes()
		var err error
		if h.log, err = Open(h.o); err == nil {
			h.note("open: generation %d, crashed %d, from %d, torn %d", h.log.Generation(), h.log.Crashed(), h.log.begun, torn)
			h.seen.torn += torn
			if h.log.begun > segmentStart {
				h.seen.skipped++
			}
			return
		}
		h.note("open: %v", err)
		if !errors.Is(err, ErrIO) && !errors.Is(err, ErrFull) {
			h.fatal("open: %v", err)
		}
	}
	h.fatal("it does not open")
}

// tornIndexes counts hints of the segment that was written that lead to no whole index.
func (h *history) tornIndexes() (n int) {
	b, err := h.disk.Read("log/" + currentName)
	if err != nil {
		return 0
	}
	c, _, err := parseCurrent(b)
	if err != nil || c.active == 0 {
		return 0
	}
	if b, err = h.disk.Read("log/" + segmentName(c.active)); err != nil {
		return 0
	}
	salt, err := checkSegmentHeader(b, c.id, c.active)
	if err != nil {
		return 0
	}
	for i := range 2 {
		if at := parseHint(b[hintAt(i):], salt); at > 0 {
			if _, ok := parseRecord(b[min(int(at), len(b)):], salt); !ok {
				n++
			}
		}
	}
	return n
}

// ready opens a room, unless the disk fails.
func (h *history) ready(m *mirror) bool {
	if m.room != nil {
		return true
	}
	r, err := h.log.Room("party", m.name, "e1")
	if err != nil {
		h.failed("room "+m.name, err)
		return false
	}
	m.room = r
	if h.check(m) {
		return true
	}
	if m.room != nil { // nobody writes before it has read
		m.room.Close()
		m.room = nil
	}
	return false
}

// failed looks at an error that a failing disk may give, and turns the power on again.
func (h *history) failed(what string, err error) {
	h.note("%s: %v", what, err)
	if !errors.Is(err, ErrIO) && !errors.Is(err, ErrFull) {
		h.fatal("%s: %v", what, err)
	}
	if errors.Is(err, faultdisk.ErrPowerCut) {
		h.seen.cuts++
		h.restart()
	}
}

func (h *history) append(m *mirror) {
	if !h.ready(m) {
		return
	}
	n := m.acked + 1
	err := m.room.Append(Entry{Number: n, Seq: 10 * n, At: int64(n) * 1000, Payload: content(m.name, n)})
	if err != nil {
		h.seen.refused++
		if errors.Is(err, ErrUnwritten) {
			h.seen.unwritten++
		} else {
			m.tried = max(m.tried, n) // a crash may leave it there
		}
		if errors.Is(err, ErrFull) && (!errors.Is(err, ErrUnwritten) || errors.Is(err, ErrIO)) {
			h.fatal("full, and not certain: %v", err)
		}
		h.failed(fmt.Sprintf("append %d to %s", n, m.name), err)
		return
	}
	h.seen.appends++
	m.acked = n
	h.note("append %d to %s", n, m.name)
}

func (h *history) release(m *mirror) {
	if !h.ready(m) {
		return
	}
	before := h.log.Stats().Segments
	m.released = max(m.released, m.acked-uint64(h.rng.IntN(3)))
	if m.acked < 3 {
		m.released = m.acked
	}
	h.note("release %s to %d", m.name, m.released)
	m.room.Release(m.released)
	h.seen.deleted += max(0, before-h.log.Stats().Segments)
}

// check compares what is replayed with what was appended. An entry that was refused may be
// there after a crash: the room takes it then.
func (h *history) check(m *mirror) (read bool) {
	h.t.Helper()
	if m.room == nil {
		return false
	}
	_, last, err := m.room.Range()
	var got []uint64
	if err == nil {
		got, err = replayed(h.t, m.room, m.released)
	}
	if err != nil {
		h.failed("check "+m.name, err)
		return false
	}
	if h.t.Failed() {
		h.fatal("%s", m.name)
	}
	for i, n := range got {
		if n != m.released+1+uint64(i) {
			h.fatal("%s: replay above %d gave %v", m.name, m.released, got)
		}
	}
	end := m.released + uint64(len(got))
	if end < m.acked || end > max(m.tried, m.acked) || len(got) > 0 && last != end {
		h.fatal("%s: replay above %d ended at %d, %d was acknowledged, %d tried; range ends at %d", m.name, m.released, end, m.acked, m.tried, last)
	}
	m.acked = end
	next := end
	err = m.room.Backward(func(e Entry) (bool, error) {
		if e.Number != next {
			h.fatal("%s: backward gave %d for %d", m.name, e.Number, next)
		}
		next--
		return true, nil
	})
	if err != nil {
		h.failed("backward "+m.name, err)
	} else if len(got) > 0 && next > m.released {
		h.fatal("%s: backward ended at %d, %d was released", m.name, next, m.released)
	}
	return true
}
