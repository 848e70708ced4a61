package commitlog

// Payloads in pieces, and large ones.

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/faultdisk"
)

// writeBytes is the size above which a record is written without a copy.
const writeBytes = 1 << 20

// cutUp cuts b into a first piece and others, some of them empty.
func cutUp(rng *rand.Rand, b []byte) (first []byte, more [][]byte) {
	n := rng.IntN(len(b) + 1)
	first, b = b[:n], b[n:]
	for len(b) > 0 {
		n = rng.IntN(min(len(b), 300<<10) + 1)
		more, b = append(more, b[:n]), b[n:]
	}
	return first, append(more, nil)
}

// TestPieces: a payload in pieces is the payload that they are together: the same bytes in the
// file, on either side of the size from which none is copied.
func TestPieces(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	disks := [2]*faultdisk.Disk{faultdisk.New(1), faultdisk.New(1)}
	var logs [2]*Log
	var rooms [2]*Room
	for i, d := range disks {
		o := testOptions(d, newClock())
		o.SegmentBytes = 64 << 20
		logs[i] = mustOpen(t, o)
		rooms[i] = mustRoom(t, logs[i], "a")
	}
	var whole [][]byte
	for i, size := range []int{0, 1, 9, 5000, writeBytes - 1, writeBytes, writeBytes + 1, 3*writeBytes + 5, 7} {
		b := make([]byte, size)
		for j := range b {
			b[j] = byte(rng.Uint32())
		}
		whole = append(whole, b)
		first, more := cutUp(rng, b)
		if err := rooms[0].Append(Entry{Number: uint64(i + 1), Payload: first}, more...); err != nil {
			t.Fatal(err)
		}
		if err := rooms[1].Append(Entry{Number: uint64(i + 1), Payload: b}); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := logs[0].Stats(), logs[1].Stats(); a.Payload != b.Payload || a.Bytes != b.Bytes {
		t.Errorf("%+v and %+v", a, b)
	}
	for i, l := range logs {
		next := 0
		if err := rooms[i].Replay(0, func(e Entry) error {
			if !bytes.Equal(e.Payload, whole[next]) {
				t.Errorf("entry %d differs", e.Number)
			}
			next++
			return nil
		}); err != nil || next != len(whole) {
			t.Error(next, err)
		}
		mustClose(t, l)
	}
	a, _ := disks[0].Read("log/" + segment.Name(1))
	b, _ := disks[1].Read("log/" + segment.Name(1))
	if len(a) == 0 || !bytes.Equal(a, b) {
		t.Error("the files differ")
	}
	many := make([][]byte, 257)
	for i := range many {
		many[i] = make([]byte, 1<<20)
	}
	l := mustOpen(t, testOptions(faultdisk.New(1), newClock()))
	defer mustClose(t, l)
	wantError(t, "pieces of 257 MiB", mustRoom(t, l, "a").Append(Entry{Number: 1}, many...), ErrTooLarge)
}

// TestLargeEntryFails: any of the writes of an entry that takes several fails. What was
// acknowledged stays, and the next entry takes its place.
func TestLargeEntryFails(t *testing.T) {
	payload := bytes.Repeat([]byte("0123456789abcdef"), 4*writeBytes/16)
	pieces := [][]byte{payload[:writeBytes+100], payload[writeBytes+100 : writeBytes+200], payload[writeBytes+200:]}
	for after := range 4 {
		for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
			d := faultdisk.New(uint64(after))
			o := testOptions(d, newClock())
			o.SegmentBytes = 64 << 20
			l := mustOpen(t, o)
			a := mustRoom(t, l, "a")
			appendUpTo(t, a, 1, 5)
			l.active.nextAlloc, l.active.limit = 0, 0 // the writes that are counted are the entry's
			d.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Err: errno, After: after, Suffix: segmentSuffix})
			if err := a.Append(Entry{Number: 6, Payload: []byte("x")}, pieces...); err == nil {
				t.Fatalf("write %d did not fail", after)
			}
			d.Heal()
			appendUpTo(t, a, 6, 9)
			wantReplay(t, a, 0, 9)
			d.Crash()
			_ = d.Restart()
			l = mustOpen(t, o)
			wantReplay(t, mustRoom(t, l, "a"), 0, 9)
			mustClose(t, l)
		}
	}
}

// TestLargeEntryMemory: to append an entry takes no memory of its size, and to replay it takes
// it once and lets go of it.
func TestLargeEntryMemory(t *testing.T) {
	const size, slack = 48 << 20, 4 << 20
	pieces := [][]byte{make([]byte, size/2), make([]byte, 100), make([]byte, size/2-100)}
	l := mustOpen(t, Options{Dir: t.TempDir(), Relaxed: true})
	defer mustClose(t, l)
	a := mustRoom(t, l, "a")
	appendUpTo(t, a, 1, 1)
	allocated := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.TotalAlloc)
	}
	before := allocated()
	for n := uint64(2); n <= 3; n++ {
		if err := a.Append(Entry{Number: n}, pieces...); err != nil {
			t.Fatal(err)
		}
	}
	if got := allocated() - before; got > slack {
		t.Errorf("two appends of %d bytes allocated %d", size, got)
	}
	before, held := allocated(), heapInUse()
	err := a.Replay(1, func(e Entry) error {
		if len(e.Payload) != size {
			t.Errorf("%d bytes", len(e.Payload))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := allocated() - before; got > size+slack {
		t.Errorf("a replay of two entries of %d bytes allocated %d", size, got)
	}
	if got := heapInUse() - held; got > slack {
		t.Errorf("the replay left %d bytes behind", got)
	}
	runtime.KeepAlive(l)
}
