package commitlog

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/faultdisk"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run the history of one seed, counted from 1, or with -seeds begin with it")
	seedsFlag = flag.Int("seeds", 0, "how many histories TestInvariantGateLogHistories runs; 0: 300, and 60 with -race or -short; from 1000 on the sweeps try each byte too")
)

// mirror is what a room should find in the log.
type mirror struct {
	name     string
	epoch    int
	room     *Room
	read     bool   // since the log was opened: acked is what it has
	acked    uint64 // the newest number that Append has acknowledged
	tried    uint64 // the newest that Append has neither acknowledged nor said that it was not written
	safe     uint64 // what is durable of a log that is Relaxed
	released uint64
}

// history runs random operations on a disk that fails, loses power, and flips bits.
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

	modes bool // it is opened in changing durability
	flips bool // a bit of a segment flips, once
	cut   bool // the power was cut since the log was opened
}

type tally struct {
	appends, refused, unwritten, cuts, clean, heals, deleted int

	indexes int // written into segments before their end
	skipped int // opens that began at an index
	torn    int // opens at which a hint led to an index that was not whole

	relaxed   int // generations
	lost      int // entries that were acknowledged and not synced
	flipped   int // bits in segments
	currents  int // times that CURRENT was damaged
	rebuilt   int // times that both of its copies were
	forgotten int // rooms
}

func (h *history) note(format string, args ...any) {
	h.events = append(h.events, fmt.Sprintf(format, args...))
}

func (h *history) fatal(format string, args ...any) {
	h.t.Helper()
	tail := h.events[max(0, len(h.events)-h.shown()):]
	for _, e := range tail {
		h.t.Log(e)
	}
	h.t.Fatalf(format, args...)
}

// TestInvariantGateLogHistories: whatever happens, what was acknowledged and not released is replayed,
// each entry once and as it was, and nothing that was never appended, or of which Append has said that
// it was not written. A log that was Relaxed says so if it has lost something. Verify finds nothing
// that is wrong, but for what the test has flipped.
func TestInvariantGateLogHistories(t *testing.T) {
	seeds, first := 300, uint64(1)
	if testing.Short() || raceEnabled {
		seeds = 60
	}
	if *seedsFlag > 0 {
		seeds = *seedsFlag
	}
	if *seedFlag > 0 {
		first = *seedFlag
		if *seedsFlag == 0 {
			seeds = 1
		}
	}
	var seen tally
	for seed := first; seed < first+uint64(seeds); seed++ {
		if !t.Run(fmt.Sprint("seed", seed), func(t *testing.T) { runHistory(t, seed, &seen) }) {
			t.Fatalf("again: go test ./storage/commitlog -run %s -seed %d", t.Name(), seed)
		}
	}
	t.Logf("%+v", seen)
	if n := seeds / 10; seeds >= 60 && (seen.appends < 100*n || seen.refused < n || seen.unwritten < n || seen.cuts < n || seen.clean < n ||
		seen.heals < n/4 || seen.deleted < n || seen.indexes < 100*n || seen.skipped < 10*n || seen.torn < n/4 || seen.relaxed < n ||
		seen.lost < n || seen.flipped < n || seen.currents < 10*n || seen.rebuilt < n || seen.forgotten < n) {
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
	h.modes, h.flips = seed%4 == 1, seed%4 > 1
	h.o = testOptions(h.disk, h.clock)
	if testing.Verbose() {
		h.o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	h.o.SegmentBytes = segment.Start + int64(1+rng.IntN(8))<<10
	h.o.IndexBytes = int64(100 << rng.IntN(6))
	if rng.IntN(3) == 0 {
		h.o.History = time.Duration(rng.IntN(100)) * time.Second
	}
	for i := range 1 + rng.IntN(8) {
		name := fmt.Sprint("room", i)
		if seed%5 == 0 && i == 1 {
			name = "big1"
		}
		h.rooms = append(h.rooms, &mirror{name: name})
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
	if h.log.Crashed() != 0 {
		h.fatal("all was released, and %d is to be recovered", h.log.Crashed())
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
	switch p := h.rng.IntN(1000); {
	case p < 690:
		h.append(m)
	case p < 790:
		h.release(m)
	case p < 850:
		h.check(m)
	case p < 885:
		h.close(m)
	case p < 893:
		h.forget(m)
	case p < 900:
		h.renew(m)
	case p < 910:
		h.sync()
	case p < 940:
		h.fault()
	case p < 960:
		n := 1 + h.rng.IntN(40)
		h.note("power cut after %d", n)
		h.disk.CrashAfter(n)
	case p < 975:
		h.note("power cut")
		h.disk.Crash()
		h.seen.cuts++
		h.cut = true
		h.restart()
	case p < 985:
		h.note("kill")
		h.disk.Kill()
		h.restart()
	default:
		h.restart()
	}
}

func (h *history) close(m *mirror) {
	if m.room == nil {
		return
	}
	h.note("close %s", m.name)
	m.room.Close()
	m.room = nil
}

// forget has what a room needs be put aside.
func (h *history) forget(m *mirror) {
	if !h.ready(m) {
		return
	}
	if h.sync(); m.room == nil || m.safe < m.acked {
		return
	}
	h.close(m)
	h.note("forget %s", m.name)
	h.log.Forget("party", m.name)
	h.seen.forgotten++
	m.released = m.acked
}

// renew gives a room another epoch, as a restore does. What it had in the old one goes with the
// first Release.
func (h *history) renew(m *mirror) {
	if !h.ready(m) {
		return
	}
	h.close(m)
	*m = mirror{name: m.name, epoch: m.epoch + 1}
	h.note("epoch %d of %s", m.epoch, m.name)
}

func (h *history) sync() {
	if err := h.log.Sync(); err != nil {
		h.failed("sync", err)
		return
	}
	h.note("sync")
	h.allSafe()
}

// allSafe notes that what was acknowledged is durable.
func (h *history) allSafe() {
	for _, m := range h.rooms {
		if m.read {
			m.safe = max(m.safe, m.acked)
		}
	}
}

func (h *history) fault() {
	ops := []faultdisk.Op{
		faultdisk.OpWrite, faultdisk.OpWrite, faultdisk.OpSync, faultdisk.OpSyncDir, faultdisk.OpRename, faultdisk.OpDelete,
		faultdisk.OpTruncate, faultdisk.OpOpen, faultdisk.OpRead,
	}
	f := faultdisk.Fault{
		Op: ops[h.rng.IntN(len(ops))], Err: []syscall.Errno{syscall.EIO, syscall.ENOSPC}[h.rng.IntN(2)],
		Times: 1 + h.rng.IntN(3), After: h.rng.IntN(4),
	}
	h.note("fault %v", f)
	h.disk.Fail(f)
}

// restart closes the log as well as it can, and opens it again.
func (h *history) restart() {
	s := h.log.Stats()
	h.seen.heals += int(s.Rewritten)
	h.seen.indexes += int(s.Indexes)
	err := h.log.Close()
	h.note("closed: %v", err)
	if err == nil {
		h.seen.clean++
		h.allSafe()
	}
	if errors.Is(err, faultdisk.ErrPowerCut) {
		h.cut = true
	}
	for _, m := range h.rooms {
		m.room, m.read = nil, false
	}
	h.open()
}

func (h *history) open() {
	if h.modes {
		h.o.Relaxed = h.rng.IntN(2) == 1
	}
	damageable := h.log != nil
	for range 50 {
		if err := h.disk.Restart(); err != nil {
			h.fatal("%v", err)
		}
		if damageable {
			h.damage()
			damageable = false
		}
		h.verify()
		torn := h.tornIndexes()
		var err error
		if h.log, err = Open(h.o); err == nil {
			h.note("open: generation %d, crashed %d, relaxed %d, from %d, torn %d", h.log.Generation(), h.log.Crashed(), h.log.RelaxedCrash(), h.log.readFrom, torn)
			h.seen.torn += torn
			if h.log.readFrom > segment.Start {
				h.seen.skipped++
			}
			if h.o.Relaxed {
				h.seen.relaxed++
			}
			h.cut = false
			return
		}
		h.note("open: %v", err)
		if !errors.Is(err, ErrIO) && !errors.Is(err, ErrFull) {
			h.fatal("open: %v", err)
		}
		if errors.Is(err, faultdisk.ErrPowerCut) {
			h.cut = true
		}
	}
	h.fatal("it does not open")
}

// damage flips bits while the log is not open.
func (h *history) damage() {
	if h.rng.IntN(3) == 0 {
		h.damageCurrent()
	}
	files := h.disk.Files()
	if !h.flips || len(files) < 3 || h.rng.IntN(5) > 0 {
		return
	}
	path := files[h.rng.IntN(len(files)-1)] // the last is CURRENT
	size, err := h.disk.Size(path)
	if err != nil || size == 0 {
		return
	}
	at, bit := h.rng.Int64N(size), h.rng.IntN(8)
	h.note("bit %d of byte %d of %s flips", bit, at, path)
	if err := h.disk.Corrupt(path, at, []byte{1 << bit}); err != nil {
		h.fatal("%v", err)
	}
	h.flips = false // two in one record would be too many
	h.seen.flipped++
}

// damageCurrent damages one copy, or both, or takes the file away. Not both where the power was cut: of
// segments that were deleted some may be there again, and CURRENT alone knows.
func (h *history) damageCurrent() {
	path := "log/" + currentName
	b, err := h.disk.Read(path)
	if err != nil || len(b) < currentPage {
		return
	}
	h.seen.currents++
	kind := h.rng.IntN(6)
	if h.cut {
		kind %= 2
	} else if kind > 1 {
		h.seen.rebuilt++
	}
	second := len(b) - int(uint32(b[12])|uint32(b[13])<<8|uint32(b[14])<<16)
	switch kind {
	case 0:
		b[h.rng.IntN(100)] ^= 1 << h.rng.IntN(8)
	case 1:
		b[second+h.rng.IntN(len(b)-second)] ^= 1 << h.rng.IntN(8)
	case 2:
		b[h.rng.IntN(100)] ^= 1 << h.rng.IntN(8)
		b[second+h.rng.IntN(100)] ^= 1 << h.rng.IntN(8)
	case 3:
		b = b[:h.rng.IntN(100)]
	case 4:
		clear(b)
	case 5:
		h.note("%s is gone", path)
		if err := h.disk.Remove(path); err != nil {
			h.fatal("%v", err)
		}
		return
	}
	h.note("%s is damaged, way %d", path, kind)
	h.disk.Write(path, b)
}

// verify asks Verify what is wrong.
func (h *history) verify() {
	c := h.disk.Clone(1)
	c.Heal()
	_, err := Verify(Options{FS: c.FS(""), Dir: "log"}, func(p Problem) {
		if !p.Harmless {
			h.fatal("verify: %+v", p)
		}
	})
	if err != nil {
		h.fatal("verify: %v", err)
	}
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
	if b, err = h.disk.Read("log/" + segment.Name(c.active)); err != nil {
		return 0
	}
	salt, err := segment.CheckHeader(b, c.id, c.active)
	if err != nil {
		return 0
	}
	for i := range 2 {
		hint := b[hintPlace(i):][:8]
		if at := binary.LittleEndian.Uint32(hint); at > 0 && binary.LittleEndian.Uint32(hint[4:]) == segment.Sum(salt, hint[:4]) {
			if _, ok := segment.ParseRecord(b[min(int(at), len(b)):], salt); !ok {
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
	r, err := h.log.Room("party", m.name, fmt.Sprint("e", m.epoch))
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
	h.t.Helper()
	h.note("%s: %v", what, err)
	if !errors.Is(err, ErrIO) && !errors.Is(err, ErrFull) {
		h.fatal("%s: %v", what, err)
	}
	if errors.Is(err, faultdisk.ErrPowerCut) {
		h.seen.cuts++
		h.cut = true
		h.restart()
	}
}

func (h *history) append(m *mirror) {
	if !h.ready(m) {
		return
	}
	n := m.acked + 1
	first, more := cutUp(h.rng, content(m.name, n))
	err := m.room.Append(Entry{Number: n, Seq: 10 * n, At: int64(n) * 1000, Payload: first}, more...)
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
	if !h.o.Relaxed {
		m.safe = n
	}
	h.note("append %d to %s", n, m.name)
}

func (h *history) release(m *mirror) {
	if !h.ready(m) {
		return
	}
	before := h.log.Stats().Segments
	to := min(m.acked-min(m.acked, uint64(h.rng.IntN(3))), m.safe) // a room syncs the log before its file
	if m.acked < 3 {
		to = m.safe
	}
	m.released = max(m.released, to)
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
	if end < min(m.safe, m.acked) || end > max(m.tried, m.acked) || len(got) > 0 && last != end {
		h.fatal("%s: replay above %d ended at %d, %d was acknowledged, %d safe, %d tried; range ends at %d",
			m.name, m.released, end, m.acked, m.safe, m.tried, last)
	}
	h.compareLoss(m, end)
	m.acked, m.read = end, true
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
	return m.room != nil
}

// compareLoss looks at entries that were acknowledged and are not there: only a Relaxed log may have
// lost them, in a sync that failed or a generation that crashed; and then it says so.
func (h *history) compareLoss(m *mirror, end uint64) {
	if end >= m.acked {
		return
	}
	h.seen.lost += int(m.acked - end)
	if !h.o.Relaxed && h.log.RelaxedCrash() == 0 {
		h.fatal("%s: %d to %d are lost, and the log was never Relaxed", m.name, end+1, m.acked)
	}
}

// shown is how many events are shown of a history that fails: all of one that is run again.
func (h *history) shown() int {
	if *seedFlag > 0 && *seedsFlag == 0 {
		return len(h.events)
	}
	return 25
}
