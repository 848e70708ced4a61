package segment

import (
	"bytes"
	"os"
	"testing"

	"github.com/denrooms/den/storage/faultdisk"
)

// TestStaleRecord: a record that is good but follows another one than the one before it is
// what a failed write has left.
func TestStaleRecord(t *testing.T) {
	const salt = 77
	who := Identify("party", "a", "e1")
	b := make([]byte, Start)
	chain := uint32(salt)
	for n := uint64(1); n <= 4; n++ {
		r := Record{Chain: chain, Number: n, Key: who.Key, Flags: FlagNames, Synced: Start}
		if n == 4 {
			r.Chain++
		}
		b = appendRecord(b, salt, &r, who.Names, bytes.Repeat([]byte{byte(n)}, 100*int(n)))
		chain = r.CRC
	}
	s := scanOf(t, append(b, make([]byte, 500)...), salt)
	if p := s.Places.Of[who.Key]; p == nil || p.Last != 3 {
		t.Errorf("%+v", p)
	}
	if len(s.Holes)+len(s.flips)+len(s.Damaged) > 0 {
		t.Error("taken for damage")
	}
	if s = scanOf(t, b, salt+1); s.End != Start {
		t.Error("records of another segment were taken")
	}
}

// scanOf scans a segment's file that has these bytes, of which nothing is sure.
func scanOf(t testing.TB, b []byte, salt uint32) *Scan {
	t.Helper()
	d := faultdisk.New(1)
	d.Write("segment", b)
	f, err := d.FS("").Open("segment", os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	s := newScan(reader{f: f, number: 1, salt: salt}, scanStart{Start, salt}, Start, int64(len(b)))
	if err := s.scan(); err != nil {
		t.Fatal(err)
	}
	return s
}
