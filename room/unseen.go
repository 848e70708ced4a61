package room

import "net/http"

// A new room of which nobody gets anything leaves nothing on the disk. What its migrations and its OnStart write (CREATE TABLE, most
// often) waits in memory until somebody is shown something of the room, and is made durable before that: a row, a cursor, any
// other frame, an answer to a plain request; or an operator has the room migrated. An action or a hook that writes, an alarm, work
// outside and a connection's attachment do the same. So does a connection that has named itself where there is Presence, because the id
// that it is shown as rests on the room's epoch, and the note on a connection that is owed its OnClose, a second after it was accepted.
//
// What shows nothing is a connection that is accepted and asks for nothing, and a plain request that is answered with an
// error, 400 or above. If the process dies before that, or the room sleeps, the next one who calls finds a new room. A
// connection outlives the sleep; then the room's next life runs OnStart in a new room, and OnWake.
//
// A client that has named its connection, asks for nothing and goes is remembered by the process (quiet.go) and not in the room.
// Of one that is there when the process shuts down the room keeps a note, and its file.

// shows reports whether the turn shows or does anything that the room must outlive. changed says that it has
// something to commit.
func (t *turn) shows(changed bool) bool {
	if changed && !t.starting || t.alarmed || len(t.after) > 0 || len(t.states) > 0 {
		return true
	}
	for _, d := range t.out {
		if len(d.frames) > 0 || d.code != 0 {
			return true
		}
	}
	for _, a := range t.answers {
		if _, is := a.env.Message.(migrateMessage); is {
			return true
		}
		if m, is := a.env.Message.(*connectMessage); is && m.conn.Named {
			if in, is := a.value.(welcome); is && in.shownAs != "" {
				return true
			}
		}
		if w, is := a.value.(*response); is && a.err == nil && w.status < http.StatusBadRequest {
			return true
		}
	}
	return false
}
