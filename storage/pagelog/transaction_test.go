package pagelog

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

// The form of a payload is that of the package's doc, byte for byte.
func TestPayloadForm(t *testing.T) {
	var b Builder
	before, after := make([]byte, PageSize), make([]byte, PageSize)
	after[8], after[23], after[4095] = 0xaa, 0xbb, 0xcc
	b.Add(56, 2, before, after)
	first, more := b.Payload(nil, 1, 2)
	SetLayout(first, 0x7030102)
	delta := hex.EncodeToString(slices.Concat(append([][]byte{first}, more...)...))
	page := "02000000" + "7b1bc642" + "1d000000" +
		"01" + "02" + "aa00000000000000" + "00000000000000bb" + "fc03" + "01" + "00000000000000cc"
	if want := "01" + "020103" + "01000000" + "02000000" + "01000000" + page; delta != want {
		t.Errorf("a delta is\n%s, want\n%s", delta, want)
	}

	base, err := BeginSnapshot(1, nil, func(uint32) ([]byte, error) { // the counters of page 1 are left out
		page := make([]byte, PageSize)
		page[24], page[99], page[100] = 1, 2, 3
		return page, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	first, more = b.Payload(base, 1, 2)
	snapshot := hex.EncodeToString(slices.Concat(append([][]byte{first}, more...)...))
	page1 := "01000000" + "83cb0886" + "0a000000" + "0c" + "01" + "0000000003000000"
	if want := "02" + "000000" + "01000000" + "02000000" + "02000000" + page1 + page; snapshot != want {
		t.Errorf("a snapshot is\n%s, want\n%s", snapshot, want)
	}
}

// A page that is the same before and after a transaction takes a header and no more.
func TestPageThatIsTheSame(t *testing.T) {
	h := newHistory(10, 2)
	state := h.states[0]
	h.builder.Add(56, 2, pageOf(state, 2), pageOf(state, 2))
	h.finish(state, state, false)
	if n := len(h.payloads[0]); n != headerSize+pageHeaderSize {
		t.Errorf("the payload has %d bytes", n)
	}
	if err := apply(h, 0, h.payloads[0]); err != nil {
		t.Error(err)
	}
}

// edited is a payload with a number of 4 bytes in another way.
func edited(payload []byte, at int, n uint32) []byte {
	payload = bytes.Clone(payload)
	binary.LittleEndian.PutUint32(payload[at:], n)
	return payload
}

// apply tries all that can be done with a payload to the state before it, and gives the errors.
func apply(h *history, i int, payload []byte) error {
	before := h.states[i]
	file := &memoryFile{bytes.Clone(before)}
	return NewFileReplay(file, uint64(i), uint32(len(before)/PageSize)).Apply(uint64(i+1), payload)
}

func TestPayloadThatIsDamaged(t *testing.T) {
	h := newHistory(11, 3)
	h.commit(false)
	h.commit(true)
	delta, snapshot := h.payloads[0], h.payloads[1]
	length := binary.LittleEndian.Uint32(delta[headerSize+8:])
	for what, c := range map[string]struct {
		i       int
		payload []byte
		want    error
	}{
		"empty":                             {0, nil, ErrCorrupt},
		"a header that is cut":              {0, delta[:headerSize-1], ErrCorrupt},
		"a newer version":                   {0, append([]byte{3}, delta[1:]...), ErrNewer},
		"no version":                        {0, make([]byte, len(delta)), ErrNewer},
		"pages that are missing":            {0, delta[:headerSize], ErrCorrupt},
		"a page that is cut":                {0, delta[:len(delta)-1], ErrCorrupt},
		"something behind the last page":    {0, append(bytes.Clone(delta), 0), ErrCorrupt},
		"more pages than there are":         {0, edited(delta, 12, math.MaxUint32), ErrCorrupt},
		"page 0":                            {0, edited(delta, headerSize, 0), ErrCorrupt},
		"a page behind the end":             {0, edited(delta, headerSize, 1000), ErrCorrupt},
		"a checksum":                        {0, edited(delta, headerSize+4, 1), ErrMismatch},
		"a length beyond the end":           {0, edited(delta, headerSize+8, math.MaxUint32), ErrCorrupt},
		"a length that is too long":         {0, edited(delta, headerSize+8, length+1), nil},
		"another size before":               {0, edited(delta, 4, 2), ErrMismatch},
		"a delta in a snapshot's place":     {1, delta, ErrMismatch},
		"a snapshot without its base":       {1, edited(snapshot, 4, 1000), ErrCorrupt},
		"a snapshot with a page too many":   {1, edited(snapshot, 12, binary.LittleEndian.Uint32(snapshot[12:])+1), ErrCorrupt},
		"a snapshot with a page too few":    {1, edited(snapshot, 12, binary.LittleEndian.Uint32(snapshot[12:])-1), ErrCorrupt},
		"a snapshot's page has another CRC": {1, edited(snapshot, headerSize+4, 1), ErrMismatch},
	} {
		err := apply(h, c.i, c.payload)
		if c.want == nil && !refused(err) || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
	if err := apply(h, 0, delta); err != nil {
		t.Errorf("whole: %v", err)
	}
	tx, err := Parse(2, edited(snapshot, 8, math.MaxUint32))
	if err == nil {
		_, err = tx.Image()
	}
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("a snapshot of 16 TiB: %v", err)
	}
}

// refused reports whether an error is one of the package's.
func refused(err error) bool {
	return slices.ContainsFunc([]error{ErrCorrupt, ErrNewer, ErrMismatch, ErrDiverged}, func(e error) bool { return errors.Is(err, e) })
}

// Whatever bit of a page's difference or checksum is wrong, the transaction is refused, or leaves what it left.
func TestPayloadWithAFlippedBit(t *testing.T) {
	h := newHistory(12, 2)
	before := h.states[0]
	after := bytes.Clone(before)
	after[PageSize+100]++
	after[PageSize+2000] ^= 0xff
	after[PageSize+2009] ^= 0xff
	h.builder.Add(56, 2, pageOf(before, 2), pageOf(after, 2))
	h.finish(before, after, false)
	payload := h.payloads[0]
	for bit := (headerSize + 4) * 8; bit < len(payload)*8; bit++ {
		flipped := bytes.Clone(payload)
		flipped[bit/8] ^= 1 << (bit % 8)
		file := &memoryFile{bytes.Clone(before)}
		err := NewFileReplay(file, 0, 2).Apply(1, flipped)
		if err == nil && !bytes.Equal(file.b, after) || err != nil && !refused(err) {
			t.Errorf("bit %d: %v", bit, err)
		}
		file.b = bytes.Clone(after)
		r := Rewinder{File: file, Number: 1, Layout: 12}
		_, err = r.Revert(1, flipped)
		if err != nil && !refused(err) {
			t.Errorf("bit %d, on the way back: %v", bit, err)
		}
	}
}

// What a transaction does not fit is refused with a text that says what it is.
func TestTransactionThatDoesNotFit(t *testing.T) {
	h := newHistory(13, 3)
	h.commit(false)
	h.commit(false)
	pages := uint32(len(h.states[0]) / PageSize)
	var damaged [2][]byte // page 3 is another one, before and after transaction 1
	for i := range damaged {
		damaged[i] = bytes.Clone(h.states[i])
		for at := 0; at < len(damaged[i]); at += 8 {
			damaged[i][at] ^= 1
		}
	}
	r := func(state []byte, number, layout uint64) *Rewinder {
		return &Rewinder{File: &memoryFile{bytes.Clone(state)}, Number: number, Layout: layout}
	}
	revert := func(r *Rewinder, number uint64, payload []byte) error {
		ok, err := r.Revert(number, payload)
		if !ok && err == nil {
			t.Error("the way ends")
		}
		return err
	}
	for _, c := range []struct {
		err  error
		want error
		text string
	}{
		{NewFileReplay(&memoryFile{}, 7, pages).Apply(9, h.payloads[0]), ErrMismatch, "transaction 9 comes where 8 should"},
		{NewFileReplay(&memoryFile{}, 0, pages+1).Apply(1, h.payloads[0]), ErrMismatch, "transaction 1 begins with 3 pages, the file has 4"},
		{NewFileReplay(&memoryFile{damaged[0]}, 0, pages).Apply(1, h.payloads[0]), ErrMismatch, "is not what transaction 1 left"},
		{revert(r(damaged[1], 1, 13), 1, h.payloads[0]), ErrDiverged, "is not what transaction 1 left"},
		{revert(r(h.states[1], 1, 14), 1, h.payloads[0]), ErrMismatch, "transaction 1 was made for another file, before or after one was compacted"},
		{revert(r(h.states[1], 2, 13), 1, h.payloads[0]), ErrMismatch, "transaction 1 comes where 2 should"},
		{revert(r(h.states[1], 1, 13), 1, []byte{1}), ErrCorrupt, "an entry of the commit log cannot be read"},
	} {
		if !errors.Is(c.err, c.want) || !strings.Contains(c.err.Error(), c.text) {
			t.Errorf("%v, want %v with %q", c.err, c.want, c.text)
		}
	}
	tx, err := Parse(1, h.payloads[0])
	if err != nil {
		t.Fatal(err)
	}
	for layout, fits := range map[uint64]bool{13: true, 13 + 1<<24: true, 14: false, 13 + 1<<23: false} {
		if err := tx.CheckLayout(layout); (err == nil) != fits {
			t.Errorf("layout %d: %v", layout, err)
		}
	}
}

// errDisk is an error of a file.
var errDisk = errors.New("the disk failed")

type failing struct {
	*memoryFile
	read, write, truncate error
}

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if f.read != nil {
		return 0, f.read
	}
	return f.memoryFile.ReadAt(p, off)
}

func (f failing) WriteAt(p []byte, off int64) (int, error) {
	if f.write != nil {
		return 0, f.write
	}
	return f.memoryFile.WriteAt(p, off)
}

func (f failing) Truncate(size int64) error {
	if f.truncate != nil {
		return f.truncate
	}
	return f.memoryFile.Truncate(size)
}

// An error of the file is no error of the transaction.
func TestFileThatFails(t *testing.T) {
	h := newHistory(14, 3)
	h.commit(false)
	h.commit(true)
	for _, fail := range []failing{{read: errDisk}, {write: errDisk}, {truncate: errDisk}} {
		for i, payload := range h.payloads {
			if i == 1 && fail.read != nil {
				continue // a snapshot need not read
			}
			before := h.states[i]
			fail.memoryFile = &memoryFile{bytes.Clone(before)}
			err := NewFileReplay(fail, uint64(i), uint32(len(before)/PageSize)).Apply(uint64(i+1), payload)
			if err != errDisk {
				t.Errorf("forwards %d: %v", i, err)
			}
			fail.memoryFile = &memoryFile{bytes.Clone(h.states[i+1])}
			r := Rewinder{File: fail, Number: uint64(i + 1), Layout: 14}
			if _, err = r.Revert(uint64(i+1), payload); err == nil {
				err = r.Flush()
			}
			if err != errDisk {
				t.Errorf("backwards %d: %v", i, err)
			}
		}
	}
}
