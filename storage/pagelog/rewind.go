package pagelog

// Going back from a database to its state after an earlier transaction.

// A Rewinder takes transactions back in a file, the newest first. Changed pages stay in memory until Flush, or until they
// exceed MaxBuffered.
type Rewinder struct {
	// File is a copy of the database without a WAL. Nobody else may have it open.
	File File
	// Number is the newest transaction in the file. Layout is the file's layout.
	Number, Layout uint64
	// Archive has the files that were replaced when the database was compacted.
	Archive Archive
	// Switch opens the archived file at path, or a copy of it, and returns it. The Rewinder continues with that file and does
	// not use the previous one any more.
	Switch func(path string) (File, error)

	buffer *Buffer
	pages  uint32 // of the file; 0: the file is unchanged
}

// Revert takes a transaction back. It must be the newest one in the file. ok is false if that is not possible because the file
// was compacted after the transaction and the file that was replaced then is gone. Errors: ErrMismatch, ErrCorrupt, ErrNewer,
// ErrDiverged, and those of the files.
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

// reach switches to the file that was replaced by compaction, if the newest transaction belongs to that file. ok is false if
// the file is gone.
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

// Flush writes the changed pages to the file and truncates the file to its size at that time.
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
