package segment

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/denrooms/den/storage/faultdisk"
)

func TestFilter(t *testing.T) {
	for _, n := range []int{1, 16, 17, 1000, 20_000} {
		var places []*Place
		for i := range n {
			places = append(places, &Place{Key: Identify("party", fmt.Sprint("room", i), "e1").Key})
		}
		_, f := encodeIndex(places, 1, 0)
		if len(f) > max(2*n, filterBlock)+filterBlock {
			t.Errorf("%d rooms: %d bytes", n, len(f))
		}
		for i, p := range places {
			if !f.Has(p.Key) {
				t.Fatalf("place %d is not found", i)
			}
		}
		passed, tries := 0, 100_000
		var k Key
		for i := range tries {
			binary.BigEndian.PutUint64(k[:], uint64(i)*0x9e3779b97f4a7c15)
			binary.BigEndian.PutUint64(k[8:], uint64(i)*0xbf58476d1ce4e5b9)
			if f.Has(k) {
				passed++
			}
		}
		t.Logf("%d rooms: %d bytes, %d of %d others pass", n, len(f), passed, tries)
		if passed > tries/200 {
			t.Errorf("%d rooms: %d of %d others pass", n, passed, tries)
		}
	}
}

// TestIndexOfUnevenKeys: rooms are found though their keys are not spread as hashes are, whichever block they are in; others are not.
func TestIndexOfUnevenKeys(t *testing.T) {
	const rooms = 5*blockEntries + 3
	spread := map[string]func(i uint64) uint64{
		"all low":  func(i uint64) uint64 { return i },
		"all high": func(i uint64) uint64 { return 1<<64 - 4*rooms + i },
		"all one":  func(uint64) uint64 { return 1 << 63 }, // and what follows differs
		"evenly":   func(i uint64) uint64 { return i * (1<<64 - 1) / (2 * rooms) },
		"two ends": func(i uint64) uint64 { return i + i%4/2*(1<<63) },
	}
	for name, first := range spread {
		keyOf := func(i uint64) (k Key) {
			binary.BigEndian.PutUint64(k[:], first(i))
			binary.BigEndian.PutUint64(k[8:], i)
			return k
		}
		var places []*Place
		for i := range uint64(rooms) {
			places = append(places, &Place{Key: keyOf(2*i + 1), Last: i + 1})
		}
		b, keep := encodeIndex(places, 77, 0)
		d := faultdisk.New(1)
		d.Write("segment", append(make([]byte, 100), b...))
		f, err := d.FS("").Open("segment", 0)
		if err != nil {
			t.Fatal(err)
		}
		s, x := &File{Number: 1, Salt: 77, Size: int64(100 + len(b))}, &Index{Offset: 100, Rooms: rooms}
		for i := range uint64(rooms) {
			p, found, err := s.Find(f, x, keyOf(2*i+1))
			if err != nil || !found || p.Last != i+1 || !keep.Has(p.Key) {
				t.Fatalf("%s: room %d is not found: %+v, %v", name, i, p, err)
			}
			if p, found, err := s.Find(f, x, keyOf(2*i)); found || err != nil {
				t.Fatalf("%s: what is not there is found: %+v, %v", name, p, err)
			}
		}
		if p, found, err := s.Find(f, x, keyOf(2*rooms+1)); found || err != nil {
			t.Errorf("%s: what is not there is found: %+v, %v", name, p, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}
