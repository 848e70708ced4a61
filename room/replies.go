package room

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
)

// What actions were answered with is kept in the room's database, in the transaction of
// the actions themselves, so that an action that comes again (its client lost the reply,
// and sent it once more) is answered again, byte for byte, and not applied again: after
// a reconnect, a restart, a crash.
//
//	_den_replies(n, at, total, replies)   one row for all replies of a batch
//
//	n        1, 2, 3 …; the oldest rows are removed
//	at       when it was written, Unix milliseconds
//	total    bytes of this row's and all earlier rows' replies, removed ones too
//	replies  a byte 1, the format's version; then for each reply:
//	         key 16 bytes · digest 8 bytes · uvarint length · the reply's JSON
//
// In memory is an index of it: of this life's replies, and from the first action on that
// may be a repetition of an earlier life's also of those.
//
// Replies of a turn that wrote nothing wait in memory for a turn that writes: an action
// that changed nothing is not worth a write of its own, and does no harm when it runs twice.

const (
	// replyRetention is how long a reply is kept, at the longest.
	replyRetention = 7 * 24 * time.Hour
	// maxPendingReplies is how many bytes of replies wait for a turn that writes.
	maxPendingReplies = 64 << 10
	// trimReplies is how many rows of old replies are removed at once, at the most.
	trimReplies = 32

	repliesVersion = 1
)

// replyKey is a hash of who sent an action under which name, and replyDigest of what it
// is. Both outlive the process, and nobody can make two alike.
type (
	replyKey    [16]byte
	replyDigest [8]byte
)

// replies belongs to one life.
type replies struct {
	limit  int // bytes of replies that are kept
	known  map[replyKey]replyPlace
	order  []replyAt // the keys of known, by row; some may have been forgotten
	loaded bool      // known has what earlier lives wrote, too

	pending []byte // the next row's replies
	next    int64  // its number
	total   int64  // of the rows before it
	oldest  replyRow
	cut     int64 // the row up to which the open batch has removed; 0: none
}

// replyPlace is where a reply stands: from which byte of which row on.
type replyPlace struct {
	digest   replyDigest
	row      int64
	at, size int32
}

type replyAt struct {
	key replyKey
	row int64
}

type replyRow struct{ n, at, total int64 }

// nameOfAction makes the key of an action: kind tells one way of naming from another.
func nameOfAction(kind byte, who, subject string, name []byte) (key replyKey) {
	sum := fingerprint(kind, who, subject, name)
	copy(key[:], sum[:])
	return key
}

// digestOfAction tells an action from another one that its client sends under the same
// name by mistake. Whoever makes two alike deceives nobody but himself, so two checksums do.
func digestOfAction(id, channel string, action []byte) (d replyDigest) {
	for i, table := range [...]*crc32.Table{crc32.MakeTable(crc32.Castagnoli), crc32.IEEETable} {
		sum := sumOfName(sumOfName(0, table, id), table, channel)
		binary.LittleEndian.PutUint32(d[4*i:], crc32.Update(sum, table, action))
	}
	return d
}

// sumOfName takes a name's length and bytes into a CRC. It is what crc32.Update does, which
// would want a copy of so short a text on the heap.
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

func fingerprint(kind byte, a, b string, c []byte) [sha256.Size]byte {
	var buf [512]byte
	text := append(buf[:0], kind)
	text = append(binary.AppendUvarint(text, uint64(len(a))), a...)
	text = append(binary.AppendUvarint(text, uint64(len(b))), b...)
	return sha256.Sum256(append(text, c...))
}

func (l *life) prepareReplies() error {
	r := &l.replies
	newest, _, err := l.replyRow(`SELECT n, at, total FROM _den_replies ORDER BY n DESC LIMIT 1`)
	if err != nil {
		return err
	}
	r.next, r.total, r.loaded = newest.n+1, newest.total, newest.n == 0
	r.oldest, _, err = l.replyRow(`SELECT n, at, total FROM _den_replies ORDER BY n LIMIT 1`)
	return err
}

func (l *life) replyRow(sql string, args ...any) (row replyRow, found bool, err error) {
	rows, err := l.db.Internal().Query(sql, args...)
	if err != nil {
		return row, false, err
	}
	defer rows.Close()
	if found = rows.Next(); found {
		err = rows.Scan(&row.n, &row.at, &row.total)
	}
	if err == nil {
		err = rows.Err()
	}
	return row, found, err
}

type replyState int

const (
	replyNone  replyState = iota // not seen before, or forgotten
	replyOther                   // the name was used for another action
	replySame                    // here is its reply
)

// findReply looks for what an action was answered with when it came before.
func (l *life) findReply(key replyKey, digest replyDigest) (*hibernate.Frame, replyState, error) {
	r := &l.replies
	place, there := r.known[key]
	if !there && !r.loaded {
		if err := l.loadReplies(); err != nil {
			return nil, replyNone, err
		}
		place, there = r.known[key]
	}
	switch {
	case !there:
		return nil, replyNone, nil
	case place.digest != digest:
		return nil, replyOther, nil
	case place.row == r.next:
		return replyFrame(r.pending[place.at : place.at+place.size]), replySame, nil
	}
	return l.readReply(place)
}

func replyFrame(payload []byte) *hibernate.Frame {
	return hibernate.TextFrame(len(payload), func(dst []byte) []byte { return append(dst, payload...) })
}

func (l *life) readReply(p replyPlace) (*hibernate.Frame, replyState, error) {
	rows, err := l.db.Internal().Query(`SELECT replies FROM _den_replies WHERE n = ?`, p.row)
	if err != nil {
		return nil, replyNone, err
	}
	defer rows.Close()
	if !rows.Next() {
		return nil, replyNone, rows.Err()
	}
	blob := rows.Bytes(0)
	if int(p.at+p.size) > len(blob) {
		return nil, replyNone, storage.ErrCorrupt
	}
	return replyFrame(blob[p.at : p.at+p.size]), replySame, nil
}

// loadReplies takes the replies of earlier lives into the index, in front of this one's.
func (l *life) loadReplies() error {
	r := &l.replies
	rows, err := l.db.Internal().Query(`SELECT n, replies FROM _den_replies WHERE n < ? ORDER BY n`, r.next)
	if err != nil {
		return err
	}
	defer rows.Close()
	var earlier []replyAt
	for rows.Next() {
		n := rows.Int(0)
		for key, place := range repliesIn(rows.Bytes(1)) {
			if _, there := r.known[key]; there {
				continue // this life's own
			}
			place.row = n
			r.put(key, place)
			earlier = append(earlier, replyAt{key, n})
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	r.order = append(earlier, r.order...)
	r.loaded = true
	return nil
}

// repliesIn reads a row's replies. What is not in the form is left out.
func repliesIn(blob []byte) func(yield func(replyKey, replyPlace) bool) {
	return func(yield func(replyKey, replyPlace) bool) {
		if len(blob) == 0 || blob[0] != repliesVersion {
			return
		}
		var key replyKey
		var place replyPlace
		for at := 1; at+len(key)+len(place.digest) < len(blob); {
			at += copy(key[:], blob[at:])
			at += copy(place.digest[:], blob[at:])
			size, n := binary.Uvarint(blob[at:])
			if at += n; n <= 0 || size > uint64(len(blob)-at) {
				return
			}
			place.at, place.size = int32(at), int32(size)
			if !yield(key, place) {
				return
			}
			at += int(size)
		}
	}
}

func (r *replies) put(key replyKey, place replyPlace) {
	if r.known == nil {
		r.known = make(map[replyKey]replyPlace)
	}
	r.known[key] = place
}

// add puts a reply behind those that wait to be written.
func (r *replies) add(key replyKey, digest replyDigest, payload []byte) {
	if len(r.pending) == 0 {
		r.pending = append(r.pending, repliesVersion)
	}
	b := append(append(r.pending, key[:]...), digest[:]...)
	b = binary.AppendUvarint(b, uint64(len(payload)))
	r.put(key, replyPlace{digest: digest, row: r.next, at: int32(len(b)), size: int32(len(payload))})
	r.order = append(r.order, replyAt{key, r.next})
	r.pending = append(b, payload...)
}

// forget takes the last n replies back, which were added when size bytes were waiting.
func (r *replies) forget(n, size int) {
	keep := len(r.order) - n
	for _, a := range r.order[keep:] {
		delete(r.known, a.key)
	}
	r.order, r.pending = r.order[:keep], r.pending[:size]
}

// writeReplies writes what waits into the open batch, and removes some that are too
// old or too many. Once the batch is committed, repliesWritten has to follow.
func (l *life) writeReplies() error {
	r := &l.replies
	if len(r.pending) == 0 {
		return nil
	}
	now := l.host.opts.Clock.Now()
	total := r.total + int64(len(r.pending))
	if _, err := l.db.Internal().Exec(`INSERT INTO _den_replies (n, at, total, replies) VALUES (?, ?, ?, ?)`,
		r.next, now.UnixMilli(), total, r.pending); err != nil {
		return err
	}
	excess, expired := total-int64(r.limit), now.Add(-replyRetention).UnixMilli()
	old := r.oldest.n != 0 && r.oldest.n < r.next
	if !old || r.oldest.total >= excess-int64(r.limit/8) && r.oldest.at >= expired {
		return nil
	}
	return l.trimReplies(excess, expired)
}

// trimReplies removes rows from the oldest on, some at a time: of those with no more than
// excess bytes up to their end, and those from before expired. Their numbers have no gaps, so a
// look at the last one is enough.
func (l *life) trimReplies(excess, expired int64) error {
	r := &l.replies
	for some := int64(trimReplies); some > 0; some /= 2 {
		last, found, err := l.replyRow(`SELECT n, at, total FROM _den_replies WHERE n = ?`, min(r.oldest.n+some, r.next)-1)
		if err != nil {
			return err
		}
		if found && (last.total <= excess || last.at < expired) {
			r.cut = last.n
			_, err = l.db.Internal().Exec(`DELETE FROM _den_replies WHERE n <= ?`, r.cut)
			return err
		}
	}
	return nil
}

// repliesWritten is called when what writeReplies wrote is durable.
func (l *life) repliesWritten() error {
	r := &l.replies
	if len(r.pending) == 0 {
		return nil
	}
	r.total += int64(len(r.pending))
	if r.oldest.n == 0 {
		r.oldest = replyRow{n: r.next, at: l.host.opts.Clock.Now().UnixMilli(), total: r.total}
	}
	r.next++
	if cap(r.pending) > maxPendingReplies {
		r.pending = nil
	}
	r.pending = r.pending[:0]
	if r.cut == 0 {
		return nil
	}
	r.drop(r.cut)
	r.cut = 0
	var err error
	r.oldest, _, err = l.replyRow(`SELECT n, at, total FROM _den_replies ORDER BY n LIMIT 1`)
	return err
}

// drop forgets the replies of the rows up to one.
func (r *replies) drop(row int64) {
	n := 0
	for ; n < len(r.order) && r.order[n].row <= row; n++ {
		if key := r.order[n].key; r.known[key].row <= row {
			delete(r.known, key)
		}
	}
	r.order = append(r.order[:0], r.order[n:]...)
}
