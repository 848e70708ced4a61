package room

import "net/http"

// A new room of which nobody gets anything leaves nothing on the disk. What its migrations and its OnStart write (CREATE TABLE, most often) waits
// in memory until somebody is shown something of the room, and is made durable before that: a row, a cursor, any
// other frame, an answer to a plain request; or an operator has the room migrated. An action or a hook that writes, an alarm, work outside and a connection's
// attachment do the same; so does a note on a client that has named its connection, or is owed its OnClose. What shows nothing is
// a connection without a name that is accepted and asks for nothing, and a plain request that is answered with an
// error, 400 or above. If the process dies before that, or the room sleeps without a connection, the next one
// who calls finds a new room.

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
		if w, is := a.value.(*response); is && a.err == nil && w.status < http.StatusBadRequest {
			return true
		}
	}
	return false
}
