package replies

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/denrooms/den/storage"
)

// An index finds each name in the last of its rows, and says 0 of others; over parts that come and go,
// and after having been written and read.
func TestReplyIndex(t *testing.T) {
	const seed = 7
	rnd := rand.New(rand.NewPCG(seed, 0))
	var x index
	rows := make(map[Key][]int64) // in order
	var names []Key
	oldest := int64(1)
	name := func() (key Key) { // few enough that prints meet, by different names too
		binary.LittleEndian.PutUint64(key[:], rnd.Uint64N(3000)<<31)
		return key
	}
	for row := int64(1); row <= 4000; row++ {
		keys := make([]Key, rnd.IntN(4))
		for i := range keys {
			keys[i] = name()
			rows[keys[i]] = append(rows[keys[i]], row)
			names = append(names, keys[i])
		}
		x.append(entry{n: row, at: row}, keys)
		if row%tailRows == 0 {
			x.covered.n = row
		}
		if row%700 == 0 { // as a new life finds it
			read := index{covered: x.covered}
			for _, p := range x.parts {
				again, err := decodePart(p.first, p.at, p.encode())
				if err != nil {
					t.Fatal(err)
				}
				read.parts = append(read.parts, again)
			}
			read.refilter()
			x = read
		}
		if row%900 == 0 {
			dead := x.dead(row - 800)
			oldest = x.parts[dead].first
			x.parts = x.parts[dead:]
			if oldest > row-800+1 {
				t.Fatalf("of %d rows those up to %d may go: now it begins with %d", row, row-800, oldest)
			}
		}
		key := name()
		if rnd.IntN(2) == 0 && len(names) > 0 {
			key = names[rnd.IntN(len(names))]
		}
		want := int64(0)
		for other, all := range rows {
			if other.print() != key.print() {
				continue
			}
			for _, n := range all {
				if n >= oldest && n < row {
					want = max(want, n)
				}
			}
		}
		if got := x.before(row, key.print()); got != want {
			t.Fatalf("row %d: %x is said to be in row %d, want %d", row, key, got, want)
		}
	}
	if len(x.parts) < 2 || oldest == 1 {
		t.Errorf("%d parts from %d on: the test is of no use", len(x.parts), oldest)
	}
}

// What is no part is refused, and nothing is read beyond it.
func TestReplyIndexDamaged(t *testing.T) {
	var x index
	for row := range int64(40) {
		x.append(entry{n: row + 1}, make([]Key, row%3))
	}
	whole := x.parts[0].encode()
	for cut := range whole {
		if _, err := decodePart(1, 1, whole[:cut]); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%d of %d bytes: %v", cut, len(whole), err)
		}
	}
	for at := range 42 { // the version, the numbers of rows and of their replies
		damaged := append([]byte(nil), whole...)
		damaged[at] ^= 0x41
		if _, err := decodePart(1, 1, damaged); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("byte %d is another: %v", at, err)
		}
	}
}
