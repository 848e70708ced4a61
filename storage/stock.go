package storage

// Connections for rooms that are to begin. Where rooms begin and none sleeps, no connection is left for the next
// one (spare.go). So one or two are made in time, when nobody waits, with the statements compiled that the rooms
// of the kind use.

// A text is a statement that a connection should have.
type text struct {
	auth authority
	sql  string
}

// Stock gives work to do when fewer than two connections wait for the next new room of the kind; nil:
// there is none. Any goroutine may do the work, while the DB is in use or closed. A DB gives it once,
// and not before its first transaction: then it has used what its kind uses.
func (d *DB) Stock() (work func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.o.Kind
	if d.stocked || k == nil || d.o.Log == nil || d.number == 0 || d.usable() != nil {
		return nil
	}
	d.stocked = true
	t := k.template.Load()
	if t == nil || t.schema == "" || !k.stocking.CompareAndSwap(false, true) {
		return nil
	}
	if !k.wants(t.schema, settingsOf(d.o)) {
		k.stocking.Store(false)
		return nil
	}
	o, texts, recorder := d.o, d.texts(), d.changes.Used()
	return func() {
		defer k.stocking.Store(false)
		for k.wants(t.schema, settingsOf(o)) {
			s := stocked(o, t, texts, recorder)
			if s == nil {
				return
			}
			k.add(s)
		}
	}
}

// texts are the statements that the room has used.
func (d *DB) texts() (all []text) {
	for auth, c := range d.caches {
		for s := range c.All() { // the newest last, as it was
			if s.Info.used {
				all = append(all, text{authority(auth), s.SQL()})
			}
		}
	}
	return all
}

// noEpoch is the epoch of a connection that has no room: its content is thrown away.
const noEpoch = "00000000000000000000000000000000"

// stocked makes a connection without a file; nil: that is not possible now.
func stocked(o Options, t *template, texts []text, recorder []string) *spare {
	content, err := t.fill(o, noEpoch)
	if err != nil {
		return nil
	}
	d, err := openMemory(o, content)
	if err != nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, x := range texts { // one that cannot be compiled is compiled by who wants it, and its error is theirs
		if s, _, err := d.statement(x.auth, x.sql); err == nil && s != nil {
			s.Release()
		}
	}
	d.changes.Prepare(recorder)
	for _, p := range d.tx.all() {
		d.ready(p)
	}
	return d.strip(t.schema)
}

// wants tells whether there are fewer connections than should wait.
func (k *Kind) wants(schema string, set settings) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, s := range k.spares {
		if s.set == set && s.schema == schema {
			n++
		}
	}
	return n < fewSpares && !k.closed
}
