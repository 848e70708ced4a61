package pagelog

// A payload, taken apart and followed.

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

// AppendNewPage appends a snapshot's part for a page: its difference from zeros. The parts of pages that are
// the same in many snapshots can be made once, see BeginSnapshot.
func AppendNewPage(dst []byte, number uint32, page []byte) []byte {
	var none [PageSize]byte
	if number == 1 {
		page = append(make([]byte, 0, PageSize), page...)
		ClearCounters(page)
	}
	return appendPage(dst, number, none[:], page)
}

// putHeader completes a payload's first bytes, but for the layout.
func putHeader(payload []byte, before, after, count uint32) {
	binary.LittleEndian.PutUint32(payload[4:], before)
	binary.LittleEndian.PutUint32(payload[8:], after)
	binary.LittleEndian.PutUint32(payload[12:], count)
}

// layoutTag is what a payload says of the layout that it was made for.
func layoutTag(layout uint64) uint32 { return uint32(layout & 0xffffff) }

// SetLayout notes in a payload which layout it was made for. The payload's first part is enough.
func SetLayout(payload []byte, layout uint64) {
	tag := layoutTag(layout)
	payload[1], payload[2], payload[3] = byte(tag), byte(tag>>8), byte(tag>>16)
}

// A Transaction is a payload, parsed. It is valid as long as the payload is.
type Transaction struct {
	Number        uint64 // of the transaction in its room
	Before, After uint32 // pages of the database before and after it
	Snapshot      bool   // it holds all of the database, and does not need what was there before

	layout uint32 // a layoutTag
	count  uint32 // of the pages that follow
	pages  []byte
}

// Parse parses the payload of the transaction with a number. Of the pages only their count is checked: Apply and Revert
// find what is wrong with them. Errors: ErrCorrupt, ErrNewer.
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

// CheckLayout returns ErrMismatch for a transaction that was made for another layout: its pages are not the file's.
func (t Transaction) CheckLayout(layout uint64) error {
	if t.layout == layoutTag(layout) {
		return nil
	}
	return refuse(ErrMismatch, "transaction %d was made for another file, before or after one was compacted", t.Number)
}

// CheckSize returns ErrMismatch for a delta that does not begin with so many pages of the database.
func (t Transaction) CheckSize(pages uint32) error {
	if t.Snapshot || t.Before == pages {
		return nil
	}
	return refuse(ErrMismatch, "transaction %d begins with %d pages, the file has %d", t.Number, t.Before, pages)
}

// Pages are a database's pages while transactions are applied to them.
type Pages interface {
	// Page returns a page's PageSize bytes, which the caller changes in place. A page that is not there
	// is zeros. It is valid until the call of Changed.
	Page(number uint32) ([]byte, error)
	// Changed is called when a page is as the transaction leaves it.
	Changed(number uint32, page []byte) error
}

// Apply turns the pages into what the transaction left. Those of a snapshot are zeros before it. After an error some
// pages may be changed. Errors: ErrCorrupt; ErrMismatch: a page does not become what the transaction
// left; those of p.
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

// Revert turns the pages into what they were before the transaction, but for the counters of page 1. After an error some
// pages may be changed. Errors: ErrCorrupt; ErrDiverged: a page is not what the transaction left; those of p.
func (t Transaction) Revert(p Pages) error {
	skip := uint32(0)
	if t.Snapshot { // its first pages are those of before
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

// each calls do for each page but the first skip ones.
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

// Image returns the database as a snapshot left it, its pages one after another.
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

// maxSparse is how many times as many pages a database may have as its snapshot tells of. SQLite leaves out
// one page only, that at 1 GiB. The limit keeps a damaged count from taking all memory.
const maxSparse = 2

// An image is a database in memory.
type image []byte

func (i image) Page(number uint32) ([]byte, error) { return i[int(number-1)*PageSize:][:PageSize], nil }

func (i image) Changed(uint32, []byte) error { return nil }
