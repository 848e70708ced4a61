package faultdisk

// SQLite's five lock levels, between the handles of this process.

import "github.com/denrooms/den/storage/dbfile"

// highest is the highest lock that other handles hold on the file.
func (h *handle) highest() dbfile.Level {
	level := dbfile.None
	for other := range h.n.locks {
		if other != h {
			level = max(level, other.lock)
		}
	}
	return level
}

func (h *handle) setLock(level dbfile.Level) {
	h.lock = level
	if level == dbfile.None {
		delete(h.n.locks, h)
		return
	}
	if h.n.locks == nil {
		h.n.locks = map[*handle]struct{}{}
	}
	h.n.locks[h] = struct{}{}
}

// raise takes a higher lock, or fails with ErrBusy; on the way to Exclusive a Pending stays, which keeps new readers out.
func (h *handle) raise(level dbfile.Level) error {
	others := h.highest()
	switch {
	case level == dbfile.Shared && others < dbfile.Pending, level == dbfile.Reserved && others < dbfile.Reserved, others == dbfile.None:
	case level > dbfile.Reserved && others == dbfile.Shared:
		h.setLock(dbfile.Pending)
		return dbfile.ErrBusy
	default:
		return dbfile.ErrBusy
	}
	h.setLock(level)
	return nil
}

// alive refuses what a power cut has left of an open file. The mutex is held.
func (h *handle) alive() error {
	if h.d.off || h.boot != h.d.boot {
		return ErrPowerCut
	}
	return nil
}

// database is a file that SQLite has open.
type database struct{ *File }

// do does something with the file's locks, if no power cut has left it dead.
func (f database) do(do func(h *handle) error) error {
	f.h.d.mu.Lock()
	defer f.h.d.mu.Unlock()
	if err := f.h.alive(); err != nil {
		return err
	}
	return do(f.h)
}

// Lock takes a lock.
func (f database) Lock(level dbfile.Level) error {
	return f.do(func(h *handle) error {
		if h.lock >= level {
			return nil
		}
		return h.raise(level)
	})
}

// Unlock goes down to a level.
func (f database) Unlock(level dbfile.Level) error {
	return f.do(func(h *handle) error { h.setLock(min(h.lock, level)); return nil })
}

// Reserved reports whether anybody is about to write.
func (f database) Reserved() (is bool, err error) {
	err = f.do(func(h *handle) error { is = max(h.lock, h.highest()) >= dbfile.Reserved; return nil })
	return is, err
}

// Level is the lock that the file has.
func (f database) Level() (level dbfile.Level) {
	_ = f.do(func(h *handle) error { level = h.lock; return nil })
	return level
}

// HasMoved reports whether the file, or what had its name, is not there any more.
func (f database) HasMoved() (moved bool, err error) {
	err = f.do(func(h *handle) error { moved = h.name != "" && h.d.live[h.name] != h.n; return nil })
	return moved, err
}
