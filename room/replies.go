package room

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"math"
	"slices"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
)

// What actions were answered with is kept in the room's database, in the transaction of
// the actions themselves, so that an action that comes again (its client lost the reply,
// and sent it once more) is answered again, byte for byte, and not applied again: after
// a reconnect, a restart, a crash. After a day only the outcome is kept, see reply_content.go.
//
//	_den_replies(n, at, total, replies)   one row for all replies of a batch
//
//	n        1, 2, 3 …; the oldest rows are removed
//	at       when it was written, Unix milliseconds
//	total    bytes of this row's and all earlier rows' replies, removed ones too
//	replies  a byte 1, the format's version, or 2: the replies have no content any more, see
//	         reply_content.go; then for each reply:
//	         key 16 bytes · digest 8 bytes · uvarint length · the reply's JSON
//
// The rows with a negative n are parts of an index of the others, see reply_index.go: that with -n
// begins with row n, and has the at of that one and the total of its last one. What rows there are is found
// out when a life needs it first.
//
// Replies of a turn that wrote nothing wait in memory for a turn that writes: an action
// that changed nothing is not worth a write of its own, and does no harm when it runs twice.

const (
	// replyRetention is how long a reply is kept, at the longest; with its content replyContent.
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
	limit   int // bytes of replies that are kept
	waiting map[replyKey]replyPlace
	order   []replyKey // those in waiting, as they came
	pending []byte     // the next row's replies

	// Of what is in the file. Nothing of it is known before loaded.

	loaded bool
	newest replyRow // n is 0 if there never was one
	oldest replyRow // n is 0 if it is not known, or there is none
	index  replyIndex

	reminded time.Time // for when the last reminder was noted

	// Of the open batch.

	row    replyRow // that it has written
	parted bool     // it has written the newest part of the index
	cut    int64    // the row up to which it has removed; 0: none
}

// replyPlace is where a reply stands among those of its row.
type replyPlace struct {
	digest   replyDigest
	at, size int32
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

// replyRows gives the rows from one to another to do, in order, until it wants no more. The replies
// are valid during the call. Most lives read by this one statement only: to prepare another takes longer than to
// find a row.
func (l *life) replyRows(from, to int64, do func(row replyRow, replies []byte) (more bool)) error {
	rows, err := l.db.Internal().Query(`SELECT n, at, total, replies FROM _den_replies WHERE n >= ? AND n <= ? ORDER BY n`, from, to)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if !do(replyRow{rows.Int(0), rows.Int(1), rows.Int(2)}, rows.Bytes(3)) {
			break
		}
	}
	return rows.Err()
}

// firstReply is the first row from one on, without its replies, which may be long.
func (l *life) firstReply(from int64) (first replyRow, err error) {
	_, err = firstRow(l.db, func(row *storage.Rows) { first = replyRow{row.Int(0), row.Int(1), row.Int(2)} },
		`SELECT n, at, total FROM _den_replies WHERE n >= ? ORDER BY n LIMIT 1`, from)
	return first, err
}

// loadReplies finds out what earlier lives wrote: from the index, and from the rows that it does not cover.
func (l *life) loadReplies() error {
	r := &l.replies
	if r.loaded {
		return nil
	}
	var newest replyRow
	var index replyIndex
	if !l.db.Created() {
		var err error
		if newest, err = l.readReplies(&index); err != nil {
			return err
		}
	}
	r.newest, r.index, r.loaded = newest, index, true
	return nil
}

func (l *life) readReplies(x *replyIndex) (newest replyRow, err error) {
	var bad error
	err = l.replyRows(math.MinInt64, -1, func(row replyRow, text []byte) bool { // the newest part comes first
		var p replyPart
		if p, bad = decodePart(-row.n, row.at, text); len(x.parts) == 0 {
			x.covered = replyRow{n: p.last(), total: row.total}
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
	var keys []replyKey
	err = l.replyRows(newest.n+1, math.MaxInt64, func(row replyRow, blob []byte) bool {
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

type replyState int

const (
	replyNone  replyState = iota // not seen before, or forgotten
	replyOther                   // the name was used for another action
	replySame                    // here is its reply
)

// findReply looks for what an action was answered with when it came before.
func (l *life) findReply(key replyKey, digest replyDigest) (*hibernate.Frame, replyState, error) {
	r := &l.replies
	if place, there := r.waiting[key]; there {
		reply, state := sameReply(r.pending, place, digest)
		return reply, state, nil
	}
	if err := l.loadReplies(); err != nil {
		return nil, replyNone, err
	}
	row := r.newest.n + 1
	for {
		if row = r.index.before(row, key.print()); row == 0 {
			return nil, replyNone, nil
		}
		if reply, state, err := l.replyIn(row, key, digest); state != replyNone || err != nil {
			return reply, state, err
		}
	}
}

// sameReply gives a reply of a row's, if it is the action's whose digest is given.
func sameReply(blob []byte, place replyPlace, digest replyDigest) (*hibernate.Frame, replyState) {
	if place.digest != digest {
		return nil, replyOther
	}
	payload := blob[place.at : place.at+place.size]
	return hibernate.TextFrame(len(payload), func(dst []byte) []byte { return append(dst, payload...) }), replySame
}

// replyIn looks for a reply in a row, which may be gone.
func (l *life) replyIn(n int64, key replyKey, digest replyDigest) (reply *hibernate.Frame, state replyState, err error) {
	old := l.host.opts.Clock.Now().Add(-replyContent).UnixMilli()
	err = l.replyRows(n, n, func(row replyRow, blob []byte) bool {
		if row.at < old && len(blob) > 0 && blob[0] == repliesVersion {
			blob = stripped(blob)
		}
		for other, place := range repliesIn(blob) {
			if other == key {
				reply, state = sameReply(blob, place, digest)
			}
		}
		return false
	})
	return reply, state, err
}

// repliesIn reads a row's replies. What is not in the form is left out.
func repliesIn(blob []byte) func(yield func(replyKey, replyPlace) bool) {
	return func(yield func(replyKey, replyPlace) bool) {
		if len(blob) == 0 || blob[0] != repliesVersion && blob[0] != strippedVersion {
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

// add puts a reply behind those that wait to be written.
func (r *replies) add(key replyKey, digest replyDigest, payload []byte) {
	if len(r.pending) == 0 {
		r.pending = append(r.pending, repliesVersion)
	}
	b := append(append(r.pending, key[:]...), digest[:]...)
	b = binary.AppendUvarint(b, uint64(len(payload)))
	if r.waiting == nil {
		r.waiting = make(map[replyKey]replyPlace)
	}
	r.waiting[key] = replyPlace{digest: digest, at: int32(len(b)), size: int32(len(payload))}
	r.order = append(r.order, key)
	r.pending = append(b, payload...)
}

// forget takes the last n replies back, which were added when size bytes were waiting.
func (r *replies) forget(n, size int) {
	r.dropWaiting(len(r.order) - n)
	r.pending = r.pending[:size]
}

// dropWaiting drops the names of those that wait, but for the first ones.
func (r *replies) dropWaiting(keep int) {
	for _, key := range r.order[keep:] {
		delete(r.waiting, key) // clear would take as long as the map was ever large
	}
	r.order = r.order[:keep]
}

const putReplies = `INSERT OR REPLACE INTO _den_replies (n, at, total, replies) VALUES (?, ?, ?, ?)`

// writeReplies writes what waits into the open batch, and removes some that are too
// old or too many. Once the batch is committed, repliesWritten has to follow, and else undo.
func (l *life) writeReplies() error {
	r := &l.replies
	if len(r.pending) == 0 {
		return nil
	}
	if err := l.loadReplies(); err != nil {
		return err
	}
	if err := l.writePart(); err != nil {
		return err
	}
	now := l.host.opts.Clock.Now()
	r.row = replyRow{r.newest.n + 1, now.UnixMilli(), r.newest.total + int64(len(r.pending))}
	if _, err := l.db.Internal().Exec(putReplies, r.row.n, r.row.at, r.row.total, r.pending); err != nil {
		return err
	}
	l.remind(now)
	return l.trimReplies(r.row.total-int64(r.limit), now.Add(-replyRetention).UnixMilli())
}

// writePart writes the newest part of the index, if enough has come to it.
func (l *life) writePart() error {
	r := &l.replies
	covered, n := r.index.covered, len(r.index.parts)
	if n == 0 || r.newest.n-covered.n < tailRows && r.newest.total-covered.total < tailBytes {
		return nil
	}
	r.parted = true
	p := &r.index.parts[n-1]
	_, err := l.db.Internal().Exec(putReplies, -p.first, p.at, r.newest.total, p.encode())
	return err
}

// trimReplies removes rows from the oldest on, some at a time: of those with no more than
// excess bytes up to their end, and those from before expired. Their numbers have no gaps, so a
// look at the last one is enough.
func (l *life) trimReplies(excess, expired int64) (err error) {
	r := &l.replies
	parts := r.index.parts
	if len(parts) == 0 || r.oldest.n == 0 && excess <= int64(r.limit/8) && parts[0].at >= expired {
		return nil // no need to look
	}
	if r.oldest.n == 0 {
		if r.oldest, err = l.firstReply(1); err != nil {
			return err
		}
	}
	if r.oldest.n == 0 || r.oldest.total >= excess-int64(r.limit/8) && r.oldest.at >= expired {
		return nil
	}
	for some := int64(trimReplies); some > 0; some /= 2 {
		last, err := l.firstReply(min(r.oldest.n+some-1, r.newest.n))
		if err != nil {
			return err
		}
		if last.n != 0 && (last.total <= excess || last.at < expired) {
			return l.cutReplies(last.n)
		}
	}
	return nil
}

// cutReplies removes the rows up to one, and the parts of the index that are of no others.
func (l *life) cutReplies(last int64) error {
	r := &l.replies
	r.cut = last
	err := l.deleteReplies(1, last)
	if dead := r.index.dead(last); err == nil && dead > 0 {
		err = l.deleteReplies(-r.index.parts[dead-1].first, -1)
	}
	return err
}

func (l *life) deleteReplies(from, to int64) error {
	_, err := l.db.Internal().Exec(`DELETE FROM _den_replies WHERE n >= ? AND n <= ?`, from, to)
	return err
}

// repliesWritten is called when what writeReplies wrote is durable.
func (l *life) repliesWritten() (err error) {
	r := &l.replies
	if len(r.pending) == 0 {
		return nil
	}
	if r.parted {
		r.index.covered = r.newest
	}
	r.index.append(r.row, r.order)
	r.newest = r.row
	r.dropWaiting(0)
	if cap(r.pending) > maxPendingReplies {
		r.pending = nil
	}
	r.pending = r.pending[:0]
	if r.cut > 0 {
		r.index.parts = slices.Delete(r.index.parts, 0, r.index.dead(r.cut))
		r.oldest, err = l.firstReply(r.cut + 1)
	}
	r.undo()
	return err
}

// undo forgets what writeReplies has done in a batch that is over.
func (r *replies) undo() { r.row, r.parted, r.cut = replyRow{}, false, 0 }
