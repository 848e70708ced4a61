// Package replies stores the answers to actions in the room's database, in the transaction of the actions themselves.
// If an action comes again (its client lost the reply and sent it once more), it is answered again, byte for byte,
// and not applied again: after a reconnect, a restart, a crash. After a day only the outcome is kept, see content.go.
//
//	_den_replies(n, at, total, replies)   one row for all replies of a batch
//
//	n        1, 2, 3 …; the oldest rows are removed
//	at       when it was written, Unix milliseconds
//	total    bytes of this row's and all earlier rows' replies, removed ones too
//	replies  a byte 1, the format's version, or 2: the replies have no content any more, see
//	         content.go; then for each reply:
//	         key 16 bytes · digest 8 bytes · uvarint length · the reply's JSON
//
// The rows with a negative n are parts of an index of the others, see index.go. The row with -n begins with row n; it
// has the at of that row and the total of its last one. A life reads which rows there are when it first needs to
// know.
//
// Replies of a turn that wrote nothing are pending in memory until a turn writes: an action that changed nothing is
// not worth its own write, and running it twice does no harm.
package replies

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
)

const (
	// retention is how long a reply is kept; its content is kept for Content.
	retention = 7 * 24 * time.Hour
	// MaxPending is how many bytes of replies may be pending.
	MaxPending = 64 << 10
	// trimRows is the maximum of rows of old replies that are removed at once.
	trimRows = 32

	version = 1
)

// A Key is a hash of an action's sender and name, and a Digest is a hash of its content. Both outlive the process.
// Nobody can make two keys alike.
type (
	Key    [16]byte
	Digest [8]byte
)

// A Store has the replies of one room. It belongs to a life of the room.
type Store struct {
	db      *storage.DB
	limit   int // bytes of replies that are kept
	waiting map[Key]place
	order   []Key  // those in waiting, as they came
	pending []byte // the next row's replies

	// What is in the file. It is unknown before loaded is set.

	loaded bool
	newest entry // n is 0 if there never was one
	oldest entry // n is 0 if it is unknown, or there is none
	index  index

	// The open batch.

	row    entry // the row that it has written
	parted bool  // it has written the newest part of the index
	cut    int64 // it has removed the rows up to this one; 0: none
}

// New returns the store of a room whose file is open. It keeps limit bytes of replies.
func New(db *storage.DB, limit int) Store { return Store{db: db, limit: limit} }

// A place is where a reply is in its row.
type place struct {
	digest   Digest
	at, size int32
}

// An entry is a row without its replies.
type entry struct{ n, at, total int64 }

// KeyOf returns the key of an action. kind separates the ways of naming.
func KeyOf(kind byte, who, subject string, name []byte) (key Key) {
	sum := hashOf(kind, who, subject, name)
	copy(key[:], sum[:])
	return key
}

// DigestOf tells an action from another one that its client sends under the same name by mistake. A client that makes
// two alike deceives only itself, so two checksums are enough.
func DigestOf(id, channel string, action []byte) (d Digest) {
	for i, table := range [...]*crc32.Table{crc32.MakeTable(crc32.Castagnoli), crc32.IEEETable} {
		sum := sumOfName(sumOfName(0, table, id), table, channel)
		binary.LittleEndian.PutUint32(d[4*i:], crc32.Update(sum, table, action))
	}
	return d
}

// sumOfName adds a name's length and bytes to a CRC. crc32.Update does the same, but needs a copy of so short a text
// on the heap.
func sumOfName(sum uint32, table *crc32.Table, name string) uint32 {
	sum = ^sum
	n := uint(len(name))
	for ; n >= 0x80; n >>= 7 { // as a uvarint
		sum = table[byte(sum)^byte(n|0x80)] ^ sum>>8
	}
	sum = table[byte(sum)^byte(n)] ^ sum>>8
	for i := range len(name) {
		sum = table[byte(sum)^name[i]] ^ sum>>8
	}
	return ^sum
}

func hashOf(kind byte, a, b string, c []byte) [sha256.Size]byte {
	var buf [512]byte
	text := append(buf[:0], kind)
	text = append(binary.AppendUvarint(text, uint64(len(a))), a...)
	text = append(binary.AppendUvarint(text, uint64(len(b))), b...)
	return sha256.Sum256(append(text, c...))
}

// rows calls do with the rows from one to another, in order, until do returns false. The replies are valid during the
// call. Most lives read with this one statement only, because preparing another takes longer than finding a row.
func (s *Store) rows(from, to int64, do func(row entry, replies []byte) (more bool)) error {
	rows, err := s.db.Internal().Query(`SELECT n, at, total, replies FROM _den_replies WHERE n >= ? AND n <= ? ORDER BY n`, from, to)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if !do(entry{rows.Int(0), rows.Int(1), rows.Int(2)}, rows.Bytes(3)) {
			break
		}
	}
	return rows.Err()
}

// first returns the first entry from one on, without its replies, which may be long.
func (s *Store) first(from int64) (first entry, err error) {
	_, err = s.db.Internal().First(func(row *storage.Rows) { first = entry{row.Int(0), row.Int(1), row.Int(2)} },
		`SELECT n, at, total FROM _den_replies WHERE n >= ? ORDER BY n LIMIT 1`, from)
	return first, err
}

// load reads what earlier lives wrote: the index, and the rows that it does not cover.
func (s *Store) load() error {
	if s.loaded {
		return nil
	}
	var newest entry
	var x index
	if !s.db.Created() {
		var err error
		if newest, err = s.read(&x); err != nil {
			return err
		}
	}
	s.newest, s.index, s.loaded = newest, x, true
	return nil
}

func (s *Store) read(x *index) (newest entry, err error) {
	var bad error
	err = s.rows(math.MinInt64, -1, func(row entry, text []byte) bool { // the newest part comes first
		var p part
		if p, bad = decodePart(-row.n, row.at, text); len(x.parts) == 0 {
			x.covered = entry{n: p.last(), total: row.total}
		}
		x.parts = append(x.parts, p)
		return bad == nil
	})
	if err = cmp.Or(err, bad); err != nil {
		return newest, err
	}
	slices.Reverse(x.parts)
	x.refilter()
	newest = x.covered
	var keys []Key
	err = s.rows(newest.n+1, math.MaxInt64, func(row entry, blob []byte) bool {
		keys = keys[:0]
		for key := range repliesIn(blob) {
			keys = append(keys, key)
		}
		x.append(row, keys)
		newest = row
		return true
	})
	return newest, err
}

// A State says what is known of an action.
type State int

const (
	None  State = iota // not seen before, or forgotten
	Other              // the name was used for another action
	Same               // its reply is known
)

// Pending returns how many bytes of replies are pending.
func (s *Store) Pending() int { return len(s.pending) }

// Fits reports whether a reply of so many bytes may become pending.
func (s *Store) Fits(bytes int) bool { return len(s.pending)+bytes <= s.limit }

// Waits reports whether the reply to an action is pending, and was added when at least that many bytes were pending.
func (s *Store) Waits(key Key, since int) bool {
	at, waits := s.waiting[key]
	return waits && int(at.at) >= since
}

// Find looks up the answer that an action was given when it came before. If the reply is over a day old, only the
// outcome is returned.
func (s *Store) Find(key Key, digest Digest, now time.Time) (*hibernate.Frame, State, error) {
	if at, there := s.waiting[key]; there {
		reply, state := same(s.pending, at, digest)
		return reply, state, nil
	}
	if err := s.load(); err != nil {
		return nil, None, err
	}
	row := s.newest.n + 1
	for {
		if row = s.index.before(row, key.print()); row == 0 {
			return nil, None, nil
		}
		if reply, state, err := s.findIn(row, key, digest, now.Add(-Content).UnixMilli()); state != None || err != nil {
			return reply, state, err
		}
	}
}

// same returns a reply in a row if it has the action's digest.
func same(blob []byte, at place, digest Digest) (*hibernate.Frame, State) {
	if at.digest != digest {
		return nil, Other
	}
	payload := blob[at.at : at.at+at.size]
	return hibernate.TextFrame(len(payload), func(dst []byte) []byte { return append(dst, payload...) }), Same
}

// findIn looks for a reply in a row, which may no longer exist. Rows from before old have no content any more.
func (s *Store) findIn(n int64, key Key, digest Digest, old int64) (reply *hibernate.Frame, state State, err error) {
	err = s.rows(n, n, func(row entry, blob []byte) bool {
		if row.at < old && len(blob) > 0 && blob[0] == version {
			blob = stripped(blob)
		}
		for other, at := range repliesIn(blob) {
			if other == key {
				reply, state = same(blob, at, digest)
			}
		}
		return false
	})
	return reply, state, err
}

// repliesIn reads a row's replies. It leaves out what does not have the right form.
func repliesIn(blob []byte) func(yield func(Key, place) bool) {
	return func(yield func(Key, place) bool) {
		if len(blob) == 0 || blob[0] != version && blob[0] != strippedVersion {
			return
		}
		var key Key
		var reply place
		for at := 1; at+len(key)+len(reply.digest) < len(blob); {
			at += copy(key[:], blob[at:])
			at += copy(reply.digest[:], blob[at:])
			size, n := binary.Uvarint(blob[at:])
			if at += n; n <= 0 || size > uint64(len(blob)-at) {
				return
			}
			reply.at, reply.size = int32(at), int32(size)
			if !yield(key, reply) {
				return
			}
			at += int(size)
		}
	}
}

// Add adds a reply to the pending ones.
func (s *Store) Add(key Key, digest Digest, payload []byte) {
	if len(s.pending) == 0 {
		s.pending = append(s.pending, version)
	}
	b := append(append(s.pending, key[:]...), digest[:]...)
	b = binary.AppendUvarint(b, uint64(len(payload)))
	if s.waiting == nil {
		s.waiting = make(map[Key]place)
	}
	s.waiting[key] = place{digest: digest, at: int32(len(b)), size: int32(len(payload))}
	s.order = append(s.order, key)
	s.pending = append(b, payload...)
}

// Forget removes the last n replies, which were added when size bytes were pending.
func (s *Store) Forget(n, size int) {
	s.dropWaiting(len(s.order) - n)
	s.pending = s.pending[:size]
}

// dropWaiting drops the names of the pending replies except the first ones.
func (s *Store) dropWaiting(keep int) {
	for _, key := range s.order[keep:] {
		delete(s.waiting, key) // clear would take as long as the map was ever large
	}
	s.order = s.order[:keep]
}

const putReplies = `INSERT OR REPLACE INTO _den_replies (n, at, total, replies) VALUES (?, ?, ?, ?)`

// Write writes what is pending into the open batch, and removes some replies that are too old or too many. Afterwards
// Written must be called if the batch was committed, otherwise Undo.
func (s *Store) Write(now time.Time) error {
	if len(s.pending) == 0 {
		return nil
	}
	if err := s.load(); err != nil {
		return err
	}
	if err := s.writePart(); err != nil {
		return err
	}
	s.row = entry{s.newest.n + 1, now.UnixMilli(), s.newest.total + int64(len(s.pending))}
	if _, err := s.db.Internal().Exec(putReplies, s.row.n, s.row.at, s.row.total, s.pending); err != nil {
		return err
	}
	return s.trim(s.row.total-int64(s.limit), now.Add(-retention).UnixMilli())
}

// writePart writes the newest part of the index if enough has been added to it.
func (s *Store) writePart() error {
	covered, n := s.index.covered, len(s.index.parts)
	if n == 0 || s.newest.n-covered.n < tailRows && s.newest.total-covered.total < tailBytes {
		return nil
	}
	s.parted = true
	p := &s.index.parts[n-1]
	_, err := s.db.Internal().Exec(putReplies, -p.first, p.at, s.newest.total, p.encode())
	return err
}

// trim removes the oldest rows, some at a time: those with no more than excess bytes up to their end, and those from
// before expired. Their numbers have no gaps, so checking the last one is enough.
func (s *Store) trim(excess, expired int64) (err error) {
	parts := s.index.parts
	if len(parts) == 0 || s.oldest.n == 0 && excess <= int64(s.limit/8) && parts[0].at >= expired {
		return nil // no need to check
	}
	if s.oldest.n == 0 {
		if s.oldest, err = s.first(1); err != nil {
			return err
		}
	}
	if s.oldest.n == 0 || s.oldest.total >= excess-int64(s.limit/8) && s.oldest.at >= expired {
		return nil
	}
	for some := int64(trimRows); some > 0; some /= 2 {
		last, err := s.first(min(s.oldest.n+some-1, s.newest.n))
		if err != nil {
			return err
		}
		if last.n != 0 && (last.total <= excess || last.at < expired) {
			return s.remove(last.n)
		}
	}
	return nil
}

// remove removes the rows up to one, and the parts of the index that only cover such rows.
func (s *Store) remove(last int64) error {
	s.cut = last
	err := s.deleteRows(1, last)
	if dead := s.index.dead(last); err == nil && dead > 0 {
		err = s.deleteRows(-s.index.parts[dead-1].first, -1)
	}
	return err
}

func (s *Store) deleteRows(from, to int64) error {
	_, err := s.db.Internal().Exec(`DELETE FROM _den_replies WHERE n >= ? AND n <= ?`, from, to)
	return err
}

// Written is called when what Write wrote is durable.
func (s *Store) Written() (err error) {
	if len(s.pending) == 0 {
		return nil
	}
	if s.parted {
		s.index.covered = s.newest
	}
	s.index.append(s.row, s.order)
	s.newest = s.row
	s.dropWaiting(0)
	if cap(s.pending) > MaxPending {
		s.pending = nil
	}
	s.pending = s.pending[:0]
	if s.cut > 0 {
		s.index.parts = slices.Delete(s.index.parts, 0, s.index.dead(s.cut))
		s.oldest, err = s.first(s.cut + 1)
	}
	s.Undo()
	return err
}

// Undo forgets what Write has done in a batch that was not committed.
func (s *Store) Undo() { s.row, s.parted, s.cut = entry{}, false, 0 }

// Inspect checks a row of _den_replies. If n is negative, it is a part of the index.
func Inspect(n, written int64, blob []byte) error {
	if n < 0 {
		_, err := decodePart(-n, written, blob)
		return err
	}
	end := min(len(blob), 1)
	for _, at := range repliesIn(blob) {
		end = int(at.at + at.size)
	}
	if len(blob) == 0 || blob[0] != version && blob[0] != strippedVersion || end != len(blob) {
		return fmt.Errorf("%w: the replies of row %d cannot be read from byte %d of %d on", storage.ErrCorrupt, n, end, len(blob))
	}
	return nil
}
