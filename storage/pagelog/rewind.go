package pagelog

// The way back from a database to its state at an earlier transaction.

// A Rewinder takes transactions back in a file, the newest first. What they change is in memory until Flush, but for more than
// MaxBuffered.
type Rewinder struct {
	// File is a copy of the database that nobody else has open, with nothing in a WAL.
	File File
	// Number is that of the newest transaction that the file has. Layout is the file's.
	Number, Layout uint64
	// Archive has the files that were replaced when the database was compacted.
	Archive Archive
	// Switch makes another file of the archive the one to go on with, or a copy of it, and returns it. What was changed in
	// the File before is of no use any more.
	Switch func(path string) (File, error)

	buffer *Buffer
	pages  uint32 // that the file has; 0: it was not changed
}

// Revert takes a transaction back, which must be the newest one that the file has. ok is false where the way ends: the file was
// compacted behind the transaction, and the one that was replaced is gone. Errors: ErrMismatch, ErrCorrupt,
// ErrNewer; ErrDiverged, a page is not what the transaction left; those of the files.
func (r *Rewinder) Revert(number uint64, payload []byte) (ok bool, err error) {
	if err := CheckOrder(number, r.Number); err != nil {
		return false, err
	}
	if ok, err := r.reach(); err != nil || !ok {
		return false, err
	}
	t, err := Parse(number, payload)
	if err != nil {
		return true, err
	}
	if err := t.CheckLayout(r.Layout); err != nil {
		return true, err
	}
	if r.buffer == nil {
		r.buffer = NewBuffer(r.read)
	}
	if err := t.Revert(r.buffer); err != nil {
		return true, err
	}
	r.Number, r.pages = number-1, t.Before
	if r.buffer.Size() >= MaxBuffered {
		return true, r.Flush()
	}
	return true, nil
}

func (r *Rewinder) read(number uint32, page []byte) error {
	_, err := r.File.ReadAt(page, offset(number))
	return err
}

// reach makes sure that the file has the pages that its newest transaction left: where it was compacted after that, the one that it
// replaced comes in its place. ok is false if there is none.
func (r *Rewinder) reach() (ok bool, err error) {
	if r.Layout == 0 || r.Number != r.Layout {
		return true, nil
	}
	path, layout, err := r.Archive.Find(r.Number)
	if err != nil || path == "" || layout >= r.Layout {
		return false, err
	}
	f, err := r.Switch(path)
	if err != nil {
		return false, err
	}
	if r.buffer != nil {
		r.buffer.Clear()
	}
	r.File, r.Layout, r.pages = f, layout, 0
	return true, nil
}

// Flush writes what was changed into the file, and cuts off what was not there yet.
func (r *Rewinder) Flush() error {
	if r.buffer == nil {
		return nil
	}
	for number, page := range r.buffer.All() {
		if _, err := r.File.WriteAt(page, offset(number)); err != nil {
			return err
		}
	}
	r.buffer.Clear()
	if r.pages == 0 {
		return nil
	}
	return r.File.Truncate(int64(r.pages) * PageSize)
}
