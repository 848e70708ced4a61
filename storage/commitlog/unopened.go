package commitlog

// What a log knows of rooms that are not open, and how it gives them up.

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/denrooms/den/storage/commitlog/segment"
)

// Pinned iterates over the rooms that were closed with unreleased entries: for range l.Pinned. They are sorted.
func (l *Log) Pinned(yield func(namespace, room string) bool) {
	l.mu.Lock()
	all := make([]segment.Identity, 0, len(l.pins))
	for _, pins := range l.pins {
		all = append(all, pins[0].id)
	}
	l.mu.Unlock()
	slices.SortFunc(all, compareNames)
	for _, id := range all {
		if !yield(id.Namespace, id.Room) {
			return
		}
	}
}

// Unrecovered iterates over the unrecovered rooms: for range l.Unrecovered. A room that no longer exists is recovered
// with Forget, or by opening it in any epoch and Release(math.MaxUint64). When no unrecovered room is left, the
// segments may be deleted, and Crashed returns 0. Unrecovered reads indexes and the rooms' first records. What cannot
// be read is left out and logged; see Unlisted.
func (l *Log) Unrecovered(yield func(namespace, room string) bool) {
	seen, going := make(map[string]struct{}), true
	l.recovery.each(func(_ cursor, who segment.Identity) bool {
		if _, again := seen[who.Name]; !again {
			seen[who.Name] = struct{}{}
			going = yield(who.Namespace, who.Room)
		}
		return going
	})
	if going && len(seen) == 0 {
		l.recovery.check()
	}
}

// Unlisted returns why Unrecovered has left rooms out: the last reason of each segment that could not be read.
func (l *Log) Unlisted() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.recovery.unlisted))
}

// Epochs returns the epochs, sorted, in which a room may have unreleased entries: those in which it is open or
// pinned, and those in which a crashed generation has left entries of an unrecovered room. It reads the names of all
// rooms of such generations. After an error, which is ErrIO, ErrCorrupt or ErrLost, epochs may be missing.
func (l *Log) Epochs(namespace, room string) ([]string, error) {
	name := segment.Identify(namespace, room, "").Name
	l.mu.Lock()
	s, segments := l.recovery.rangeOf(name), l.sealed.list
	var epochs []string
	for _, p := range l.pins[name] {
		epochs = append(epochs, p.id.Epoch)
	}
	for _, r := range l.rooms {
		if r.id.Name == name && len(r.spans) > 0 {
			epochs = append(epochs, r.id.Epoch)
		}
	}
	l.mu.Unlock()
	var failed error
	for _, g := range segments {
		if s.has(g.Number) && (!g.missing || g.lost()) {
			_, err := l.sealed.eachRoom(g, cursor{segment: g.Number}, func(_ cursor, p *segment.Place, names *segment.Reader) (bool, error) {
				who, err := names.Root(p)
				if err == nil && who.Name == name {
					epochs = append(epochs, who.Epoch)
				}
				return true, err
			})
			failed = errors.Join(failed, err)
		}
	}
	slices.Sort(epochs)
	return slices.Compact(epochs), failed
}

// Candidates returns where the log may have entries of a room whose epoch is not known. Its key is a hash of the
// epoch too, so the log cannot find it by its name. epoch is the epoch of its newest pin, "" if it has none. from and
// to are the oldest and the newest generation that may have left it entries when they crashed; 0, 0: none. ErrLost: a
// segment of these generations is lost or has a hole.
func (l *Log) Candidates(namespace, room string) (epoch string, from, to uint64, err error) {
	name := segment.Identify(namespace, room, "").Name
	l.mu.Lock()
	defer l.mu.Unlock()
	if pins := l.pins[name]; len(pins) > 0 {
		epoch = pins[len(pins)-1].id.Epoch
	}
	s := l.recovery.rangeOf(name)
	for _, g := range l.sealed.list {
		switch {
		case !s.has(g.Number):
			continue
		case g.lost(), g.holeEnd() > 0:
			return "", 0, 0, g.lostError()
		case to == 0:
			from, to = g.generation, s.generation
		}
	}
	return epoch, from, to, nil
}

// Forget releases all entries of a room that is not open, in all epochs: its file was replaced, and nobody will replay
// them. They stay for Options.History. Forget does nothing to a room that is open.
func (l *Log) Forget(namespace, room string) {
	name := segment.Identify(namespace, room, "").Name
	l.mu.Lock()
	open, look := false, false
	for _, r := range l.rooms {
		open = open || r.id.Name == name
	}
	if !open {
		l.pins.drop(name)
		look = l.recovery.markRecovered(name, nil)
	}
	l.mu.Unlock()
	l.maybeShrink(look)
}

func compareNames(a, b segment.Identity) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Room, b.Room), strings.Compare(a.Epoch, b.Epoch))
}
