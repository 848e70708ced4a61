package storage

// What an Open holds so far. An Open that fails releases it. This file is for an Open that panics, because of a file's content or in a
// Log of another kind: its connection would keep the file's lock, and its part of the log would stay in use, so that nobody in this
// process could open the room again.

// An opening is one call of Open. It belongs to the goroutine that calls it; a nil one notes nothing.
type opening struct {
	dbs   []*DB
	parts []RoomLog

	// Memory for the first of each: most have no second.

	db   [1]*DB
	part [1]RoomLog
}

func newOpening() *opening {
	o := new(opening)
	o.dbs, o.parts = o.db[:0], o.part[:0]
	return o
}

func (o *opening) addDB(d *DB) {
	if o != nil {
		o.dbs = append(o.dbs, d)
	}
}

// part opens the room's part of the log.
func (o Options) part(epoch string) (RoomLog, error) {
	room, err := o.Log.Room(o.Namespace, o.Room, epoch)
	if err == nil && o.opening != nil {
		o.opening.parts = append(o.opening.parts, room)
	}
	return room, err
}

// giveBack closes everything after a panic of Open. Each thing is closed even if another one panics.
func (o *opening) giveBack() {
	for _, d := range o.dbs {
		survive(func() { _ = d.refuse() }) // the first panic goes on and says what is wrong
	}
	for _, room := range o.parts {
		survive(room.Close)
	}
}

// survive calls f, and goes on if it panics.
func survive(f func()) {
	defer func() { _ = recover() }()
	f()
}
