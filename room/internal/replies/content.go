package replies

// Stored replies contain data: rows, and values from handlers. A client that sends an action again does so within
// minutes, or was away for long and has to sync anyway. So after a day the content of a reply is removed and the
// outcome stays: a success without rows and value, with "resync" if there were rows, or the refusal as it was. This
// happens within an hour, with the room's maintenance or, if the room sleeps, without waking it. Until then the
// content of a reply that is over a day old is left out when the reply is sent.
//
// A row of _den_replies whose replies have no content begins with the byte 2 instead of 1.

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/denrooms/den/storage"
)

const (
	// Content is how long a reply is kept with its content.
	Content = 24 * time.Hour
	// stripRows is the maximum of rows of replies that are rewritten at once.
	stripRows = 32

	strippedVersion = 2
)

// Strip removes the content of some of the replies that are over a day old, as part of the open batch if there is
// one. more says that there are others.
func Strip(db *storage.DB, now time.Time) (more bool, err error) {
	type row struct {
		n    int64
		text []byte
	}
	var old []row
	err = db.Internal().Each(`SELECT n, replies FROM _den_replies
		WHERE n > 0 AND at < ? AND substr(replies, 1, 1) = x'01' ORDER BY n LIMIT ?`,
		func(r *storage.Rows) { old = append(old, row{r.Int(0), stripped(r.Bytes(1))}) }, now.Add(-Content).UnixMilli(), stripRows)
	if err != nil {
		return false, err
	}
	for _, r := range old {
		if _, err := db.Internal().Exec(`UPDATE _den_replies SET replies = ? WHERE n = ?`, r.text, r.n); err != nil {
			return false, err
		}
	}
	return len(old) == stripRows, nil
}

// OldestContent returns when the oldest reply that still has its content was stored, and whether there is one.
func OldestContent(db *storage.DB) (stored time.Time, some bool, err error) {
	if there, err := db.Internal().HasTable("_den_replies"); err != nil || !there {
		return stored, false, err
	}
	some, err = db.Internal().First(func(row *storage.Rows) { stored = time.UnixMilli(row.Int(0)) },
		`SELECT at FROM _den_replies WHERE n > 0 AND substr(replies, 1, 1) = x'01' ORDER BY n LIMIT 1`)
	return stored, some, err
}

// stripped returns a row's replies without their content.
func stripped(blob []byte) []byte {
	text := []byte{strippedVersion}
	for key, at := range repliesIn(blob) {
		reply := withoutContent(blob[at.at : at.at+at.size])
		text = append(append(text, key[:]...), at.digest[:]...)
		text = append(binary.AppendUvarint(text, uint64(len(reply))), reply...)
	}
	return text
}

// withoutContent returns a reply's JSON without rows and value. It returns what is not a reply as it is.
func withoutContent(reply []byte) []byte {
	d := json.NewDecoder(bytes.NewReader(reply))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return reply
	}
	out := append(make([]byte, 0, len(reply)), '{')
	add := func(name string, value []byte) {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, '"'), name...), '"', ':')
		out = append(out, value...)
	}
	for d.More() {
		name, err := d.Token()
		var value json.RawMessage
		if err == nil {
			err = d.Decode(&value)
		}
		field, is := name.(string)
		switch {
		case err != nil || !is:
			return reply
		case field == "value" || field == "resync":
		case field == "result" && string(value) != "[]":
			add("result", []byte("[]"))
			add("resync", []byte("true"))
		default:
			add(field, value)
		}
	}
	return append(out, '}')
}
