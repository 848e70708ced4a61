package changes

import (
	"slices"
	"strings"
)

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
	i, _ := slices.BinarySearchFunc(s.sorted, t.name, func(other *Table, name string) int { return strings.Compare(other.name, name) })
	s.sorted = slices.Insert(s.sorted, i, t)
	if s.byName == nil {
		s.byName = make(map[string]*Table)
	}
	s.byName[t.name] = t
}

// drop removes a table. A loop over sorted goes on with the old slice.
func (s *tables) drop(name string) {
	s.last = nil
	delete(s.byName, name)
	s.sorted = slices.DeleteFunc(slices.Clone(s.sorted), func(t *Table) bool { return t.name == name })
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
