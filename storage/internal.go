package storage

// Internal is the same file as Den's other packages see it: for tables of their
// own, named _den_…, which handlers cannot write and whose changes are not
// captured. Within an action its writes are a part of it; outside each is a
// transaction of its own, and within a batch a part of the batch.
type Internal struct{ d *DB }

// Internal gives access to Den's own tables.
func (d *DB) Internal() *Internal { return &Internal{d} }

// Exec is DB.Exec for tables named _den_….
func (in *Internal) Exec(sql string, args ...any) (Result, error) {
	d := in.d
	if err := d.lock(); err != nil {
		return Result{}, err
	}
	defer d.mu.Unlock()
	if d.batch != nil && d.batch.dead != nil {
		return Result{}, d.batch.dead
	}
	return d.exec(peer, sql, args)
}

// Query is DB.Query for tables named _den_…; it may write.
func (in *Internal) Query(sql string, args ...any) (*Rows, error) {
	d := in.d
	if err := d.lock(); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	if d.batch != nil && d.batch.dead != nil {
		return nil, d.batch.dead
	}
	return d.query(peer, sql, args)
}
