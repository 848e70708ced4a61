package commitlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/faultdisk"
)

// verified gives what Verify reports, and checks that it changes nothing.
func verified(t *testing.T, o Options, d *faultdisk.Disk) (all, harmful []Problem, v Verified) {
	t.Helper()
	before, open := contents(t, d), d.OpenFiles()
	v, err := Verify(Options{FS: d.FS(""), Dir: o.Dir}, func(p Problem) {
		all = append(all, p)
		if !p.Harmless {
			harmful = append(harmful, p)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if contents(t, d) != before {
		t.Fatal("it changes something")
	}
	if n := openFiles(d.FS("")); n != open {
		t.Fatalf("%d files are open, and %d were before", n, open)
	}
	return all, harmful, v
}

// TestVerifyWell: nothing is wrong with logs of all kinds, with CURRENT and without.
func TestVerifyWell(t *testing.T) {
	for _, how := range specimens {
		s := prepare(t, how)
		entries := 0
		for _, r := range s.records {
			if r.room != "" {
				entries++
			}
		}
		all, _, v := verified(t, s.o, s.disk)
		if len(all) > 0 || v.Entries != entries || v.Rooms != len(s.rooms) || v.Segments != len(segmentFiles(t, s.o.FS, s.o.Dir)) || v.Bytes < 3<<10 {
			t.Errorf("%s: %+v, %v", how, v, all)
		}
		if err := s.disk.Remove("log/" + currentName); err != nil {
			t.Fatal(err)
		}
		all, harmful, v := verified(t, s.o, s.disk)
		if len(all) != 1 || len(harmful) > 0 || v.Entries != entries {
			t.Errorf("%s, without CURRENT: %+v, %v", how, v, all)
		}
	}
	if v, err := Verify(Options{FS: faultdisk.New(1).FS(""), Dir: "none"}, func(Problem) { t.Error("nothing is wrong with nothing") }); err != nil || v != (Verified{}) {
		t.Errorf("no log: %+v, %v", v, err)
	}
}

// TestVerifyRemovedSegment: a segment that the log no longer needs, and that was not removed yet, is nothing to report. One of
// another log is.
func TestVerifyRemovedSegment(t *testing.T) {
	d := faultdisk.New(1)
	o := testOptions(d, newClock())
	l := mustOpen(t, o)
	a := mustRoom(t, l, "a")
	appendUpTo(t, a, 1, 10)
	name := "log/" + segment.Name(l.active.Number)
	var first []byte
	for n := uint64(11); l.active.Number == 1; n++ {
		appendUpTo(t, a, n, n)
		if b, err := d.Read(name); err == nil {
			first = b
		}
		a.Release(n)
	}
	mustClose(t, l)
	if _, err := d.Read(name); err == nil {
		t.Fatal("the first segment was not removed")
	}
	d.Write(name, first)
	if all, _, _ := verified(t, o, d); len(all) > 0 {
		t.Errorf("a segment that was left over: %v", all)
	}
	other := faultdisk.New(2)
	foreign := testOptions(other, newClock())
	foreign.Random = seeded(2)
	l = mustOpen(t, foreign)
	appendUpTo(t, mustRoom(t, l, "a"), 1, 3)
	b, err := other.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	d.Write(name, b)
	if all, harmful, _ := verified(t, o, d); len(all) != 1 || len(harmful) != 0 || all[0].What != "it belongs to another log" || all[0].File != segment.Name(1) {
		t.Errorf("a segment of another log: %v", all)
	}
}

// TestVerifySeesEverything: each flip of a bit that is part of anything is found, and is harmless; a
// sector that is gone, with what was in it of entries, is not.
func TestVerifySeesEverything(t *testing.T) {
	for _, how := range specimens {
		s := prepare(t, how)
		for _, path := range s.disk.Files() {
			b, err := s.disk.Read(path)
			if err != nil {
				t.Fatal(err)
			}
			file := path[len("log/"):]
			used := int64(len(bytes.TrimRight(b, "\x00")))
			for at := int64(0); at < used; at += stride(3) {
				d := s.disk.Clone(1)
				if err := d.Corrupt(path, at, []byte{1 << (at / 3 % 8)}); err != nil {
					t.Fatal(err)
				}
				all, harmful, _ := verified(t, s.o, d)
				spare := file != currentName && at >= segmentHeader && at < segment.Start || // zeros, and hints, which nobody needs
					file == currentName && at >= int64(binary.LittleEndian.Uint32(b[12:])) && at < currentPage // zeros between the copies
				if len(harmful) > 0 || len(all) == 0 && !spare {
					t.Fatalf("%s: bit at %d of %s: %v", how, at, path, all)
				}
			}
			for at := int64(0); at < used; at += sector {
				d := s.disk.Clone(1)
				damaged := slices.Clone(b)
				clear(damaged[at:min(at+sector, int64(len(b)))])
				d.Write(path, damaged)
				entry := false
				for name := range s.rooms {
					owner, _, lastWrite := s.hit(file, name, at, at+sector)
					entry = entry || owner && !lastWrite
				}
				if _, harmful, _ := verified(t, s.o, d); entry && len(harmful) == 0 {
					t.Fatalf("%s: sector at %d of %s: nothing is wrong", how, at, path)
				}
			}
		}
	}
}

// TestVerifyNames: what is reported says where it is, whose it is and what it is.
func TestVerifyNames(t *testing.T) {
	s := prepare(t, "clean")
	second := "log/" + segment.Name(2)
	whole, err := s.disk.Read(second)
	if err != nil {
		t.Fatal(err)
	}
	third, err := s.disk.Read("log/" + segment.Name(3))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(s.records, func(r specimenRecord) bool { return r.segment == 2 && r.room == "a" && r.to-r.from > 200 })
	a := s.records[i]
	body := slices.Clone(whole)
	clear(body[a.from+recordHeader+40 : a.from+recordHeader+60])
	salt := binary.LittleEndian.Uint32(whole[segmentHeader-4:])
	old, _ := segment.ParseRecord(whole[a.from:], salt)
	names := ""
	if old.Flags&segment.FlagNames != 0 {
		who := segment.Identify("party", "a", "e1")
		names = who.Names
	}
	forged := slices.Clone(whole)
	copy(forged[a.from:], forge(t, salt, &old, names, make([]byte, old.Length)))
	for what, tc := range map[string]struct {
		change func(d *faultdisk.Disk)
		want   []string
	}{
		"a damaged entry":   {func(d *faultdisk.Disk) { d.Write(second, body) }, []string{segment.Name(2), fmt.Sprint(a.from), "party a e1", "is damaged"}},
		"a forged entry":    {func(d *faultdisk.Disk) { d.Write(second, forged) }, []string{segment.Name(2)}},
		"a missing segment": {func(d *faultdisk.Disk) { _ = d.Remove(second) }, []string{segment.Name(2), "missing"}},
		"another segment":   {func(d *faultdisk.Disk) { d.Write(second, third) }, []string{segment.Name(2)}},
		"a cut segment":     {func(d *faultdisk.Disk) { d.Write(second, whole[:2000]) }, []string{segment.Name(2), "2000", "shorter"}},
		"an old CURRENT":    {func(d *faultdisk.Disk) { withPin(t, d, "early", 9) }, []string{currentName, "party early e1", "up to 9"}},
	} {
		d := s.disk.Clone(1)
		tc.change(d)
		_, harmful, _ := verified(t, s.o, d)
		found := slices.ContainsFunc(harmful, func(p Problem) bool {
			text := fmt.Sprintf("%s %d %s %s %s %s", p.File, p.Offset, p.Namespace, p.Room, p.Epoch, p.What)
			return !slices.ContainsFunc(tc.want, func(want string) bool { return !strings.Contains(text, want) })
		})
		if !found {
			t.Errorf("%s: %+v", what, harmful)
		}
	}
}

// withPin changes what CURRENT says of a closed room.
func withPin(t *testing.T, d *faultdisk.Disk, room string, last uint64) {
	t.Helper()
	b, err := d.Read("log/" + currentName)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := parseCurrent(b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.pins {
		if c.pins[i].id.Room == room {
			c.pins[i].last = last
		}
	}
	d.Write("log/"+currentName, c.file())
}
