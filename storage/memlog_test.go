package storage

import (
	"slices"
	"sync"
)

// memLog is a commit log in memory, which loses nothing.
type memLog struct {
	mu      sync.Mutex
	rooms   map[string]*memRoom
	crashed uint64
	fail    error
}

type memRoom struct {
	log     *memLog
	entries []LogEntry
	through uint64
}

func newMemLog() *memLog { return &memLog{rooms: make(map[string]*memRoom)} }

func (l *memLog) ID() string         { return "memory" }
func (l *memLog) Generation() uint64 { return l.crashed + 1 }
func (l *memLog) Sync() error        { return nil }
func (l *memLog) Crashed() uint64    { return l.crashed }

func (l *memLog) Candidates(_, _ string) (string, uint64, uint64, error) {
	return "", min(l.crashed, 1), l.crashed, nil
}

func (l *memLog) Room(namespace, room, epoch string) (RoomLog, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := namespace + "/" + room + "/" + epoch
	if l.rooms[key] == nil {
		l.rooms[key] = &memRoom{log: l}
	}
	return l.rooms[key], nil
}

func (r *memRoom) Last() uint64 {
	_, last, _ := r.Range()
	return last
}

func (r *memRoom) Range() (first, last uint64, err error) {
	if len(r.entries) == 0 {
		return 0, 0, nil
	}
	return r.entries[0].Number, r.entries[len(r.entries)-1].Number, nil
}

func (r *memRoom) Replay(after uint64, do func(LogEntry) error) error {
	for _, e := range r.entries {
		if e.Number > after {
			if err := do(e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *memRoom) Backward(do func(LogEntry) (bool, error)) error {
	for _, e := range slices.Backward(r.entries) {
		if more, err := do(e); err != nil || !more {
			return err
		}
	}
	return nil
}

func (r *memRoom) Append(e LogEntry, more ...[]byte) error {
	e.Payload = slices.Concat(append([][]byte{e.Payload}, more...)...)
	if r.log.fail != nil {
		return r.log.fail
	}
	e.Payload = slices.Clone(e.Payload)
	r.entries = append(r.entries, e)
	return nil
}

func (r *memRoom) Release(through uint64) { r.through = through }
func (r *memRoom) Close()                 {}
