package changes

import "strings"

// tables are the tracked tables of a database: those of _den_tables.
type tables struct {
	byName   map[string]*Table
	sorted   []*Table // by their names
	declared []string // in the order of their declaration
	last     *Table   // the result of the last call of tracked

	replaced map[string]*Table // by the open transaction; nil: the table was not tracked before
}

// tracked returns the table of a name if its changes are recorded, else nil.
func (s *tables) tracked(name string) *Table {
	if t := s.last; t != nil && t.name == name && !t.stale {
		return t
	}
	t := s.byName[name]
	if t == nil || t.stale {
		return nil
	}
	s.last = t
	return t
}

// put adds a table, or replaces the one of its name.
func (s *tables) put(t *Table) {
	s.drop(t.name)
	i := 0
	for i < len(s.sorted) && strings.Compare(s.sorted[i].name, t.name) < 0 {
		i++
	}
	s.sorted = append(s.sorted, nil)
	copy(s.sorted[i+1:], s.sorted[i:])
	s.sorted[i] = t
	if s.byName == nil {
		s.byName = make(map[string]*Table)
	}
	s.byName[t.name] = t
}

func (s *tables) drop(name string) {
	s.last = nil
	delete(s.byName, name)
	for i, t := range s.sorted {
		if t.name == name {
			s.sorted = append(s.sorted[:i:i], s.sorted[i+1:]...)
			return
		}
	}
}

// replace is put for a table that the open transaction has begun to track.
func (s *tables) replace(t *Table) {
	if s.replaced == nil {
		s.replaced = make(map[string]*Table)
	}
	s.replaced[t.name] = s.byName[t.name]
	s.put(t)
}

// rollback undoes replace.
func (s *tables) rollback() {
	for name, t := range s.replaced {
		if t != nil {
			s.put(t)
		} else {
			s.drop(name)
		}
	}
	s.replaced = nil
	for _, t := range s.sorted {
		t.highest = highest{}
	}
}
