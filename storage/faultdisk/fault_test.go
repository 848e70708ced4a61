package faultdisk

// Faults and cuts at operations of each kind, and bits that flip at rest.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"slices"
	"syscall"
	"testing"
)

// TestShortRead: a part of the buffer is filled, and the error says that it is not all.
func TestShortRead(t *testing.T) {
	lengths := map[int]bool{}
	for seed := range uint64(100) {
		d := New(seed)
		d.Write("a", bytes.Repeat([]byte("x"), 100))
		f, err := d.OpenFile("a", 0)
		must(t, err)
		want := error(io.ErrUnexpectedEOF)
		fault := Fault{Op: OpRead, Short: true}
		if seed%2 == 0 {
			fault.Err, want = syscall.EIO, syscall.EIO
		}
		d.Fail(fault)
		b := make([]byte, 100)
		n, err := f.ReadAt(b, 0)
		if !errors.Is(err, want) || n >= 100 || bytes.Count(b, []byte("x")) != n {
			t.Fatalf("seed %d: %d, %v, %q", seed, n, err, b)
		}
		lengths[n] = true
		if n, err := f.ReadAt(b, 0); n != 100 || err != nil {
			t.Fatal(n, err)
		}
	}
	if len(lengths) < 30 {
		t.Errorf("only %d lengths of 100", len(lengths))
	}
}

// calls are one operation of each kind, on a disk that prepared has made ready.
func calls(d *Disk) map[Op]func() error {
	fsys := d.FS("")
	file := func(do func(f *File) error) func() error {
		return func() error {
			f, err := d.OpenFile("dir/a", 0)
			if err != nil {
				return err
			}
			return do(f)
		}
	}
	return map[Op]func() error{
		OpOpen:     func() error { _, err := d.OpenFile("dir/b", os.O_CREATE); return err },
		OpRead:     file(func(f *File) error { _, err := f.ReadAt(make([]byte, 1), 0); return err }),
		OpWrite:    file(func(f *File) error { _, err := f.Write([]byte("y")); return err }),
		OpTruncate: file(func(f *File) error { return f.Truncate(1) }),
		OpSync:     file(func(f *File) error { return f.Sync() }),
		OpSyncDir:  func() error { return fsys.SyncDir("dir") },
		OpDelete:   func() error { return fsys.Remove("dir/a") },
		OpRename:   func() error { return fsys.Rename("dir/a", "dir/c") },
		OpMkdir:    func() error { return d.Mkdir("dir/sub") },
		OpStat:     func() error { _, err := fsys.Size("dir/a"); return err },
		OpList:     func() error { _, err := fsys.Names("dir"); return err },
	}
}

func prepared(seed uint64) *Disk {
	d := New(seed)
	d.Write("dir/a", []byte("content"))
	return d
}

// again makes a disk ready for another operation.
func again(d *Disk) {
	d.Write("dir/a", []byte("content"))
	for _, name := range []string{"dir/b", "dir/c", "dir/sub"} {
		d.forgetName(name)
		delete(d.live, name)
		delete(d.durable, name)
	}
}

// TestEveryCallFails: a fault of each kind reaches its call and no other, and is counted.
func TestEveryCallFails(t *testing.T) {
	for _, op := range AllOps() {
		t.Run(op.String(), func(t *testing.T) {
			for _, other := range AllOps() {
				d := prepared(1)
				d.Fail(Fault{Op: op, Suffix: "no such name"})
				d.Fail(Fault{Op: op, Err: syscall.ENOSPC})
				err := calls(d)[other]()
				opens := op == OpOpen && slices.Contains([]Op{OpRead, OpWrite, OpTruncate, OpSync}, other)
				if failed := op == other || opens; errors.Is(err, syscall.ENOSPC) != failed || (err != nil) != failed {
					t.Errorf("%v with a fault of %v: %v", other, op, err)
				}
				if op == other && d.Stats().Failed[op] != 1 {
					t.Errorf("%+v", d.Stats())
				}
			}
		})
	}
}

// TestCrashAt: the power goes at the operation that was named, and nowhere else.
func TestCrashAt(t *testing.T) {
	for _, op := range AllOps() {
		t.Run(op.String(), func(t *testing.T) {
			d := prepared(1)
			d.CrashAt(op, "", 0)
			d.CrashAt(op, "no such name", 1)
			must(t, calls(d)[op]())
			if d.Stats().Crashes != 0 {
				t.Fatal("a cut that was not set has come")
			}
			for n := 1; n <= 3; n++ {
				d := prepared(uint64(n))
				d.CrashAt(op, map[Op]string{OpSyncDir: "ir", OpList: "ir", OpMkdir: "b"}[op], n)
				for i := 1; i < n; i++ {
					for _, other := range AllOps() { // as often as one likes
						if other != op && op != OpOpen {
							must(t, calls(d.Clone(1))[other]())
						}
					}
					must(t, calls(d)[op]())
					again(d)
				}
				if err := calls(d)[op](); !errors.Is(err, ErrPowerCut) {
					t.Errorf("operation %d: %v", n, err)
				}
				if s := d.Stats(); s.Crashes != 1 || s.CutAt[op] != 1 {
					t.Errorf("operation %d: %+v", n, s)
				}
				mustRestart(t, d)
				again(d)
				must(t, calls(d)[op]())
			}
		})
	}
}

// TestCrashAtIsUnsynced: what the cut comes at has reached the cache alone.
func TestCrashAtIsUnsynced(t *testing.T) {
	kept := 0
	for seed := range uint64(100) {
		d := prepared(seed)
		d.CrashAt(OpWrite, "", 1)
		if err := calls(d)[OpWrite](); !errors.Is(err, ErrPowerCut) {
			t.Fatal(err)
		}
		if content(t, d, "dir/a") == "contenty" {
			kept++
		}
	}
	if kept < 20 || kept > 80 {
		t.Errorf("the write was kept %d times of 100", kept)
	}
}

// TestBefore: the moment before a cut has many outcomes, the one that came is one of them.
func TestBefore(t *testing.T) {
	d := prepared(1)
	if d.Before(1) != nil {
		t.Error("a moment that nobody kept")
	}
	d.KeepMoments()
	f, err := d.OpenFile("dir/a", 0)
	must(t, err)
	write(t, f, bytes.Repeat([]byte("x"), 8*SectorSize))
	d.CrashAt(OpWrite, "", 1)
	if _, err := f.Write([]byte("y")); !errors.Is(err, ErrPowerCut) {
		t.Fatal(err)
	}
	outcomes := map[string]bool{}
	for seed := range uint64(50) {
		c := d.Before(seed)
		if size, err := c.Size("dir/a"); size != 7+8*SectorSize+1 || err != nil {
			t.Fatalf("before the cut the file has %d bytes, %v", size, err)
		}
		powerCut(t, c)
		outcomes[content(t, c, "dir/a")] = true
	}
	if len(outcomes) < 8 {
		t.Errorf("only %d outcomes of 50", len(outcomes))
	}
}

// TestHealTakesCutsBack, those of both kinds.
func TestHealTakesCutsBack(t *testing.T) {
	d := prepared(1)
	d.CrashAfter(1)
	d.CrashAt(OpWrite, "", 1)
	d.Heal()
	must(t, calls(d)[OpWrite]())
	if d.Stats().Crashes != 0 {
		t.Error("the power was cut")
	}
}

// TestFlipBits: as many bits as were asked for, where it says, for good, and nothing that was unsynced becomes durable.
func TestFlipBits(t *testing.T) {
	files := map[string]int{}
	lost := 0
	for seed := range uint64(200) {
		d := New(seed)
		was := map[string][]byte{"a.db": bytes.Repeat([]byte{0}, 300), "b.db": bytes.Repeat([]byte{0}, 700), "c.log": bytes.Repeat([]byte{0}, 500)}
		for name, data := range was {
			d.Write(name, data)
		}
		f, err := d.OpenFile("b.db", 0)
		must(t, err)
		write(t, f, []byte("unsynced"))
		flips := d.FlipBits(".db", 3)
		if len(flips) != 3 {
			t.Fatal(flips)
		}
		was["b.db"] = append(was["b.db"], "unsynced"...)
		for _, f := range flips {
			files[f.Name]++
			was[f.Name][f.Offset] ^= 1 << f.Bit
		}
		for name, want := range was {
			if got := content(t, d, name); got != string(want) {
				t.Fatalf("seed %d: %s is not what %v says", seed, name, flips)
			}
		}
		powerCut(t, d)
		for name, want := range was {
			got := content(t, d, name)
			if n := min(len(got), 700); got[:n] != string(want[:n]) {
				t.Fatalf("seed %d: the flips of %s did not survive", seed, name)
			}
		}
		if size, _ := d.Size("b.db"); size == 700 {
			lost++
		}
	}
	if files["a.db"] < 60 || files["b.db"] < 250 || files["c.log"] > 0 {
		t.Errorf("flips by file: %v", files)
	}
	if lost < 40 {
		t.Errorf("what was unsynced was lost %d times of 200", lost)
	}
}

// TestFlipAllBits: there are no more than there are, each once; the unsynced part is flipped in a sync too.
func TestFlipAllBits(t *testing.T) {
	d := New(1)
	f := create(t, d, "a")
	must(t, d.SyncDir("."))
	write(t, f, []byte{0, 0})
	if got := d.FlipBits("", 100); len(got) != 16 {
		t.Fatal(got)
	}
	must(t, f.Sync())
	powerCut(t, d)
	ones := 0
	for _, b := range []byte(content(t, d, "a")) {
		ones += bits.OnesCount8(b)
	}
	if ones != 16 {
		t.Errorf("%d bits are 1 of 16", ones)
	}
	if got := d.FlipBits("no such name", 1); len(got) != 0 {
		t.Error(got)
	}
	if got := fmt.Sprint(Flip{"a", 7, 3}); got != "a: bit 3 at 7" {
		t.Error(got)
	}
}
