package pagelog

// Parsing a payload, applying it, and taking it back.

import (
	"encoding/binary"
)

// The forms of a payload, its first byte.
const (
	formDelta    = 1
	formSnapshot = 2
)

const (
	headerSize     = 16 // of a payload
	pageHeaderSize = 12 // of a page in it
)

// appendPage appends a page's part of a payload.
func appendPage(dst []byte, number uint32, before, after []byte) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, number)
	dst = binary.LittleEndian.AppendUint32(dst, checksum(number, after))
	dst = append(dst, 0, 0, 0, 0)
	dst = appendDifference(dst, before, after)
	binary.LittleEndian.PutUint32(dst[start+8:], uint32(len(dst)-start-pageHeaderSize))
	return dst
}

// AppendNewPage appends a page's part of a snapshot, which is its difference from zeros. A part that is the same in many
// snapshots can be made once; see BeginSnapshot.
func AppendNewPage(dst []byte, number uint32, page []byte) []byte {
	var none [PageSize]byte
	if number == 1 {
		page = append(make([]byte, 0, PageSize), page...)
		ClearCounters(page)
	}
	return appendPage(dst, number, none[:], page)
}

// putHeader sets a payload's page counts. SetLayout sets the layout.
func putHeader(payload []byte, before, after, count uint32) {
	binary.LittleEndian.PutUint32(payload[4:], before)
	binary.LittleEndian.PutUint32(payload[8:], after)
	binary.LittleEndian.PutUint32(payload[12:], count)
}

// layoutTag returns the form in which a payload holds a layout.
func layoutTag(layout uint64) uint32 { return uint32(layout & 0xffffff) }

// SetLayout stores the layout in a payload, of which the first part is enough.
func SetLayout(payload []byte, layout uint64) {
	tag := layoutTag(layout)
	payload[1], payload[2], payload[3] = byte(tag), byte(tag>>8), byte(tag>>16)
}

// A Transaction is a parsed payload. It refers to the payload's memory.
type Transaction struct {
	Number        uint64 // of the transaction in its room
	Before, After uint32 // pages of the database before and after it
	Snapshot      bool   // the payload has all pages of the database

	layout uint32 // a layoutTag
	count  uint32 // of the pages that follow
	pages  []byte
}

// Parse parses the payload of a transaction. Parse checks the count of the pages; Apply and Revert check the pages
// themselves. Errors: ErrCorrupt, ErrNewer.
func Parse(number uint64, payload []byte) (Transaction, error) {
	if len(payload) < headerSize {
		return Transaction{}, ErrCorrupt
	}
	if payload[0] != formDelta && payload[0] != formSnapshot {
		return Transaction{}, refuse(ErrNewer, "an entry of the commit log has version %d, this Den knows up to %d", payload[0], formSnapshot)
	}
	t := Transaction{
		Number:   number,
		Before:   binary.LittleEndian.Uint32(payload[4:]),
		After:    binary.LittleEndian.Uint32(payload[8:]),
		Snapshot: payload[0] == formSnapshot,
		layout:   uint32(payload[1]) | uint32(payload[2])<<8 | uint32(payload[3])<<16,
		count:    binary.LittleEndian.Uint32(payload[12:]),
		pages:    payload[headerSize:],
	}
	if uint64(t.count)*pageHeaderSize > uint64(len(t.pages)) || t.Snapshot && t.count < t.Before {
		return Transaction{}, ErrCorrupt
	}
	return t, nil
}

// CheckLayout returns ErrMismatch if the transaction belongs to another layout.
func (t Transaction) CheckLayout(layout uint64) error {
	if t.layout == layoutTag(layout) {
		return nil
	}
	return refuse(ErrMismatch, "transaction %d was made for another file, before or after one was compacted", t.Number)
}

// CheckSize returns ErrMismatch for a delta that does not begin with the given number of pages.
func (t Transaction) CheckSize(pages uint32) error {
	if t.Snapshot || t.Before == pages {
		return nil
	}
	return refuse(ErrMismatch, "transaction %d begins with %d pages, the file has %d", t.Number, t.Before, pages)
}

// Pages is a database to which transactions are applied.
type Pages interface {
	// Page returns a page's PageSize bytes, which the caller changes in place. A page that does not exist is zeros. The
	// slice is valid until Changed is called.
	Page(number uint32) ([]byte, error)
	// Changed is called after the page was changed.
	Changed(number uint32, page []byte) error
}

// Apply applies the transaction to p. For a snapshot the pages of p must be zeros. After an error some pages may be changed.
// Errors: ErrCorrupt; ErrMismatch, if a page gets another content than the transaction wrote; those of p.
func (t Transaction) Apply(p Pages) error {
	return t.each(0, func(number, sum uint32, difference []byte) error {
		page, err := p.Page(number)
		if err != nil {
			return err
		}
		if err := applyDifference(page, difference); err != nil {
			return err
		}
		if checksum(number, page) != sum {
			return refuse(ErrMismatch, "page %d is not what transaction %d left", number, t.Number)
		}
		return p.Changed(number, page)
	})
}

// Revert takes the transaction back in p, except for the counters of page 1. After an error some pages may be changed. Errors:
// ErrCorrupt; ErrDiverged, if a page differs from what the transaction wrote; those of p.
func (t Transaction) Revert(p Pages) error {
	skip := uint32(0)
	if t.Snapshot { // its first pages are from before the transaction
		skip = t.Before
	}
	return t.each(skip, func(number, sum uint32, difference []byte) error {
		page, err := p.Page(number)
		if err != nil {
			return err
		}
		if checksum(number, page) != sum {
			return refuse(ErrDiverged, "page %d is not what transaction %d left", number, t.Number)
		}
		if err := applyDifference(page, difference); err != nil {
			return err
		}
		return p.Changed(number, page)
	})
}

// each calls do for each page except the first skip pages.
func (t Transaction) each(skip uint32, do func(number, sum uint32, difference []byte) error) error {
	rest := t.pages
	for i := range t.count {
		if len(rest) < pageHeaderSize {
			return ErrCorrupt
		}
		number, sum := binary.LittleEndian.Uint32(rest), binary.LittleEndian.Uint32(rest[4:])
		length := binary.LittleEndian.Uint32(rest[8:])
		rest = rest[pageHeaderSize:]
		if number == 0 || number > max(t.Before, t.After) || uint64(length) > uint64(len(rest)) {
			return ErrCorrupt
		}
		if i >= skip {
			if err := do(number, sum, rest[:length]); err != nil {
				return err
			}
		}
		rest = rest[length:]
	}
	if len(rest) > 0 {
		return ErrCorrupt
	}
	return nil
}

// Image returns the database after the transaction of a snapshot, as the bytes of a file.
func (t Transaction) Image() ([]byte, error) {
	pages := max(t.Before, t.After)
	if !t.Snapshot || uint64(pages) > maxSparse*uint64(t.count) {
		return nil, ErrCorrupt
	}
	all := make(image, int(pages)*PageSize)
	if err := t.Apply(all); err != nil {
		return nil, err
	}
	return all[:int(t.After)*PageSize], nil
}

// maxSparse limits how many pages a database may have for each page in its snapshot. SQLite leaves out one page only, the one
// at 1 GiB. The limit keeps a damaged count from using all memory.
const maxSparse = 2

// An image is a database in memory.
type image []byte

func (i image) Page(number uint32) ([]byte, error) { return i[int(number-1)*PageSize:][:PageSize], nil }

func (i image) Changed(uint32, []byte) error { return nil }
