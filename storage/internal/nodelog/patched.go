package nodelog

// A room's part of the log together with the entries that were moved out of it, because the room was refused.

import (
	"fmt"
	"math"

	"github.com/denrooms/den/storage/roomfile"
)

// WithMoved puts the moved's entries of an epoch before those that the log has, if there are some above the number
// that the room's own file has reached. A file of entries that was removed may be there again after a power cut.
func WithMoved(moved *roomfile.Entries, room RoomLog, epoch string, reached uint64) RoomLog {
	places := moved.Of(epoch)
	n := len(places)
	if n == 0 {
		return room
	}
	if last := places[n-1]; !last.Damaged && last.Number <= reached {
		moved.Remove()
		return room
	}
	return &patched{RoomLog: room, moved: moved, places: places}
}

// Plain returns a room's part of the log without the moved entries, once the room's file has them.
func Plain(room RoomLog) RoomLog {
	if p, ok := room.(*patched); ok {
		return p.RoomLog
	}
	return room
}

// patched is a room's part of the log, with entries before it that were moved out of it.
type patched struct {
	RoomLog
	moved  *roomfile.Entries
	places []roomfile.Place // at least one
}

// newest is the number of the newest entry that was moved. The error says that there were others, which were damaged.
func (p *patched) newest() (uint64, error) {
	last := p.places[len(p.places)-1]
	if last.Damaged {
		return 0, fmt.Errorf("%w: some of the entries that the commit log had of the room were damaged; restore a backup of it", roomfile.ErrLogMismatch)
	}
	return last.Number, nil
}

func (p *patched) Last() uint64 {
	number, err := p.newest()
	if err != nil {
		return math.MaxUint64 // whoever asks for it finds out
	}
	return max(number, p.RoomLog.Last())
}

func (p *patched) Range() (first, last uint64, err error) {
	number, err := p.newest()
	if err != nil {
		return 0, 0, err
	}
	_, last, err = p.RoomLog.Range()
	return p.places[0].Number, max(last, number), err
}

func (p *patched) Replay(after uint64, do func(LogEntry) error) error {
	number, err := p.newest()
	if err != nil {
		return err
	}
	for _, place := range p.places {
		if place.Number <= after {
			continue
		}
		e, err := p.moved.Read(place)
		if err == nil {
			err = do(e)
		}
		if err != nil {
			return err
		}
	}
	if after = max(after, number); p.RoomLog.Last() <= after {
		return nil
	}
	return p.RoomLog.Replay(after, do)
}

// Release removes the file when the room's own has all that is in it.
func (p *patched) Release(through uint64) {
	if number, err := p.newest(); err == nil && through >= number {
		p.moved.Remove()
	}
	p.RoomLog.Release(through)
}
