package room

import (
	"fmt"

	"github.com/denrooms/den/room/internal/machine"
)

// Files and sockets have one thing in common: each takes a descriptor, of which a process has
// so many. It is better told at the start than found out under load.

const (
	// descriptorsPerRoom is how many an awake room has: its file and its WAL.
	descriptorsPerRoom = 2
	// descriptorsBeside is how many are left for what is neither room nor socket: the commit
	// log, the runtime, backups, the WALs of connections that no room has.
	descriptorsBeside = 96
	// defaultAwake is how many rooms are awake at the most, where the limit allows.
	defaultAwake = 2048
)

// checkDescriptors sets MaxAwake by what the process may open, and refuses one that is over it.
// limit is 0 where there is none.
func (o *Options) checkDescriptors(limit int) error {
	if o.MaxAwake <= 0 {
		o.MaxAwake = defaultAwake
		if limit > 0 {
			o.MaxAwake = max(1, min(defaultAwake, (limit/2-descriptorsBeside)/descriptorsPerRoom))
		}
	}
	if need := o.MaxAwake*descriptorsPerRoom + descriptorsBeside; limit > 0 && need > limit {
		return fmt.Errorf("room: MaxAwake %d takes %d descriptors, and the process may have %d: raise the limit (ulimit -n, LimitNOFILE=) or lower MaxAwake", o.MaxAwake, need, limit)
	}
	return nil
}

// Descriptors tells how many descriptors the process may have, 0 where there is no limit, and
// how many of them the rooms may take.
func (h *Host) Descriptors() (limit, rooms int) {
	return machine.Descriptors(), h.opts.MaxAwake*descriptorsPerRoom + descriptorsBeside
}
