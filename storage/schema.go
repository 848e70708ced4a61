package storage

// What follows from a change of the schema: by Sync, and by a handler's own CREATE, ALTER, DROP.

// schemaChanged drops what was prepared for the schema before.
func (ses *session) schemaChanged() {
	version := int64(-1)
	err := ses.each("PRAGMA schema_version", func(r *Rows) { version = r.Int(0) })
	if err == nil && version == ses.schemaVersion {
		return // CREATE … IF NOT EXISTS
	}
	ses.schemaVersion = version
	ses.changes.SchemaChanged()
	for _, c := range ses.caches {
		c.Clear()
	}
}

// startOver is reload after a schema change was rolled back: statements were compiled for it.
func (d *DB) startOver() error {
	d.sql.caches[handler].Clear()
	d.sql.caches[peer].Clear()
	return d.reload()
}

// reload reads all tables' definitions. What was declared stays so.
func (d *DB) reload() error {
	if err := d.sql.readSchemaVersion(); err != nil {
		return err
	}
	unfit, fresh, err := d.sql.changes.LoadTables(d.notes.definitions())
	if err != nil {
		return d.sql.recorded(err)
	}
	if len(unfit) > 0 && d.batch != nil {
		d.batch.schema = true // if it is rolled back, they have to be given up again
	}
	for _, t := range unfit {
		if err := d.alone(func() error { return d.sql.recorded(d.sql.changes.GiveUp(t)) }); err != nil {
			return err
		}
	}
	if fresh {
		d.notes.noteDefinitions()
	}
	return nil
}

func (ses *session) readSchemaVersion() error {
	if h := ses.header; h != nil {
		ses.schemaVersion, ses.header = h.changes, nil
		return nil
	}
	return ses.each("PRAGMA schema_version", func(r *Rows) { ses.schemaVersion = r.Int(0) })
}
