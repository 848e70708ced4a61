package commitlog

// Parts of the segment that is written. Behind each, in the stream of records, comes an index
// of it, and two hints at the segment's beginning, written in turn, say where the newest
// indexes are: so what opens the log after a crash has to read the last part only.
//
// Three things keep a reader from believing what is not so. An index is written only when all
// before it is durable, and says so. It is a record, with a record's checksums, of which the
// salt is one; and a hint that leads to anything else counts as none. Hints are never needed:
// without one all is read. So it does not matter that a hint becomes durable before its index,
// or not at all, or that the index was refused with its group.

import "github.com/denrooms/den/storage/commitlog/segment"

// startGroup begins a group in the buffer: with the index of the part that ends here, if the
// part is long enough. It returns the checksum that the group follows, and where the part
// begins that the group is in.
func (l *Log) startGroup() (chain uint32, part int64, err error) {
	a := l.active
	if a.end-a.indexedTo < l.o.IndexBytes || len(a.unindexed) == 0 {
		return a.chain, a.indexedTo, nil
	}
	if a.synced < a.end { // a log that is Relaxed
		if err := l.syncActive(); err != nil {
			return 0, 0, err
		}
	}
	rec := segment.Record{Chain: a.chain, Synced: uint32(a.synced), Previous: a.indexAt}
	l.writer.PutIndex(a.Salt, &rec, a.unindexed)
	return rec.CRC, l.writer.End(), nil
}

// writeHint says where the index that begins the group is. Where that fails the next start
// reads more.
func (a *active) writeHint() {
	at, b := segment.Hint(a.Salt, a.hints, uint32(a.end))
	_, _ = a.file.WriteAt(b, at)
}

// endPart notes that a group was written with an index at its beginning.
func (l *Log) endPart(at, part int64) {
	a := l.active
	l.mu.Lock()
	defer l.mu.Unlock()
	a.indexAt, a.indexedTo, a.unindexed = uint32(at), part, a.unindexed[:0]
	a.hints++
	l.stats.Indexes++
}
