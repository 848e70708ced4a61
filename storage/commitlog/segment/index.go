package segment

// Indexes: which rooms have records in a segment, or in a part of it, and where; sorted by key. A segment that was
// sealed in good order has one index, of the whole segment, at its end. Keys are hashes, so a room's block is found
// by interpolation, with one read or two.

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"iter"
	"maps"
	"math/bits"
	"slices"

	"github.com/denrooms/den/storage/vfs"
)

const (
	blockHeader  = 12
	indexEntry   = 36
	blockEntries = 128
	blockSize    = blockHeader + blockEntries*indexEntry
	footerBlock  = 1 << 31 // in the number of a block: the index ends a segment, and is no record
)

// File is what a reader has to know of a segment's file.
type File struct {
	Number uint64
	Salt   uint32 // the checksum of its header, with which those of its records begin
	Size   int64  // in bytes. Find, Block, Filter and ScanLast read nothing after it
}

// Index is where in a segment an index lies.
type Index struct {
	Offset uint32 // of its first block
	Rooms  uint32 // keys in it, at least one
}

// sorted sorts places by their keys. It compares copies of the keys' first bytes, because to follow the pointers is
// slow if there are many.
func sorted(places []*Place) []*Place {
	type first struct {
		bytes uint64
		of    *Place
	}
	list := make([]first, len(places))
	for i, p := range places {
		list[i] = first{binary.BigEndian.Uint64(p.Key[:]), p}
	}
	slices.SortFunc(list, func(a, b first) int {
		if c := cmp.Compare(a.bytes, b.bytes); c != 0 {
			return c
		}
		return bytes.Compare(a.of.Key[:], b.of.Key[:])
	})
	for i, f := range list {
		places[i] = f.of
	}
	return places
}

// Footer returns the index that ends a segment with these places, and its filter. Both are the caller's, and nil if
// there are no places.
func (s *Places) Footer(salt uint32) ([]byte, Filter) {
	if len(s.Of) == 0 {
		return nil, nil
	}
	return encodeIndex(slices.Collect(maps.Values(s.Of)), salt, footerBlock)
}

// Sorted returns the places in the order of their keys. They are not copies.
func (s *Places) Sorted() []*Place { return sorted(slices.Collect(maps.Values(s.Of))) }

// encodeIndex returns an index of places, which it sorts, and its filter. kind is 0 or footerBlock.
func encodeIndex(places []*Place, salt, kind uint32) ([]byte, Filter) {
	sorted(places)
	count := (len(places) + blockEntries - 1) / blockEntries
	blocks := count*blockHeader + len(places)*indexEntry
	b, le := make([]byte, blocks+filterHeader+filterSize(len(places))), binary.LittleEndian
	keep := Filter(b[blocks+filterHeader:])
	for i := range count {
		in := places[i*blockEntries : min((i+1)*blockEntries, len(places))]
		block := b[i*blockSize:][:blockHeader+len(in)*indexEntry]
		for j, p := range in {
			encodePlace(block[blockHeader+j*indexEntry:], p)
			keep.add(p.Key)
		}
		le.PutUint32(block[4:], uint32(i)|kind)
		le.PutUint32(block[8:], uint32(len(in)))
		le.PutUint32(block, Sum(salt, block[4:]))
	}
	le.PutUint32(b[blocks:], Sum(salt, keep))
	return b, slices.Clone(keep)
}

func encodePlace(b []byte, p *Place) {
	le := binary.LittleEndian
	copy(b, p.Key[:])
	le.PutUint64(b[16:], p.Last)
	le.PutUint32(b[24:], p.At)
	le.PutUint32(b[28:], p.CRC)
	le.PutUint32(b[32:], p.Root)
}

func parsePlace(b []byte) Place {
	le := binary.LittleEndian
	return Place{
		Key: Key(b), Last: le.Uint64(b[16:]), At: le.Uint32(b[24:]), CRC: le.Uint32(b[28:]), Root: le.Uint32(b[32:]),
	}
}

// Blocks returns how many blocks of rooms the index has.
func (x *Index) Blocks() int { return (int(x.Rooms) + blockEntries - 1) / blockEntries }

// Record returns the offset of the record that the index is the payload of; 0 if the index is too near to the
// beginning to be in one. An index at the end of a segment is in none.
func (x *Index) Record() uint32 {
	if x.Offset <= recordHeader {
		return 0
	}
	return x.Offset - recordHeader
}

// FilterSize returns the size of the index's filter in bytes.
func (x *Index) FilterSize() int { return filterSize(int(x.Rooms)) }

// Block reads the i-th block of an index, and returns its rooms in the order of their keys. Their First is 0. The
// errors are ErrCorrupt and ErrIO.
func (s *File) Block(f vfs.File, x *Index, i int) (iter.Seq[Place], error) {
	b, err := s.readBlock(f, x, i)
	if err != nil {
		return nil, err
	}
	return func(yield func(Place) bool) {
		for ; len(b) > 0; b = b[indexEntry:] {
			if !yield(parsePlace(b)) {
				return
			}
		}
	}, nil
}

// Filter reads an index's filter, which is the caller's. It returns nil if the filter is damaged or cannot be read.
func (s *File) Filter(f vfs.File, x *Index) Filter {
	b := make([]byte, filterHeader+x.FilterSize())
	at := int64(x.Offset) + int64(x.Blocks()*blockHeader) + int64(x.Rooms)*indexEntry
	if s.readAt(f, b, at) != nil || binary.LittleEndian.Uint32(b) != Sum(s.Salt, b[filterHeader:]) {
		return nil
	}
	return Filter(b[filterHeader:])
}

// readBlock reads a block of an index, checks it, and returns its entries.
func (s *File) readBlock(f vfs.File, x *Index, i int) ([]byte, error) {
	count := min(blockEntries, int(x.Rooms)-i*blockEntries)
	b, off, le := make([]byte, blockHeader+count*indexEntry), int64(x.Offset)+int64(i)*blockSize, binary.LittleEndian
	if err := s.readAt(f, b, off); err != nil {
		return nil, err
	}
	if le.Uint32(b) != Sum(s.Salt, b[4:]) || le.Uint32(b[4:])&^footerBlock != uint32(i) || le.Uint32(b[8:]) != uint32(count) {
		return nil, Corrupt(Name(s.Number), off, "a block of an index does not fit its checksum")
	}
	return b[blockHeader:], nil
}

// readAt fills b from a sealed segment.
func (s *File) readAt(f vfs.File, b []byte, off int64) error {
	if off+int64(len(b)) > s.Size {
		return Corrupt(Name(s.Number), off, "it goes on after the end of the file")
	}
	if n, err := f.ReadAt(b, off); n < len(b) {
		return shortRead(s.Number, off+int64(n), err)
	}
	return nil
}

// Find finds a room's place by an index. The First of the place is 0. ErrCorrupt: a block is damaged, and the room
// may be in it. ErrIO.
func (s *File) Find(f vfs.File, x *Index, k Key) (Place, bool, error) {
	n := x.Blocks()
	guess, _ := bits.Mul64(binary.BigEndian.Uint64(k[:]), uint64(n))
	i, moved := int(guess), 0
	for {
		b, err := s.readBlock(f, x, i)
		if err != nil {
			return Place{}, false, err
		}
		step := 0
		switch {
		case bytes.Compare(k[:], b[:len(k)]) < 0:
			step = -1
		case bytes.Compare(k[:], b[len(b)-indexEntry:][:len(k)]) > 0:
			step = 1
		}
		if step == 0 || step == -moved || i+step < 0 || i+step == n { // -moved: it would lie between two blocks
			p, found := findEntry(b, k)
			return p, found, nil
		}
		i, moved = i+step, step
	}
}

func findEntry(b []byte, k Key) (Place, bool) {
	for ; len(b) > 0; b = b[indexEntry:] {
		if Key(b) == k {
			return parsePlace(b), true
		}
	}
	return Place{}, false
}

// Place is what a segment has of a room. It is small, because there is one in memory for each room that has written
// to the active segment, even if the room sleeps. The names are in the file, at Root.
type Place struct {
	Key         Key
	First, Last uint64 // numbers of the newest run without a gap; First is 0 if it was not read
	At          uint32 // offset of the last record
	CRC         uint32 // of the last record
	Root        uint32 // offset of the run's first record, which has the names
	Starts      bool   // the run starts a chain: entries before it do not belong to it
	incomplete  bool   // there are entries before First, which cannot be read
}

// Places are what a segment has of each room.
type Places struct {
	Of     map[Key]*Place // has to be made before Get
	unused []Place        // to be used: they are allocated some at a time
}

const placesPerAlloc = 128

// Get returns a room's place, and makes it if there is none.
func (s *Places) Get(k Key) *Place {
	p := s.Of[k]
	if p == nil {
		if len(s.unused) == 0 {
			s.unused = make([]Place, placesPerAlloc)
		}
		p, s.unused = &s.unused[0], s.unused[1:]
		p.Key = k
		s.Of[k] = p
	}
	return p
}
