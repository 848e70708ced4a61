package sqlite

import "iter"

// Cache keeps prepared statements by their texts. When it is full, the one that was used longest ago
// is dropped. T is what its user knows of a statement.
type Cache[T any] struct {
	max    int
	byText map[string]*CachedStmt[T]
	list   CachedStmt[T] // the sentinel of the ring of all, the last used first
}

// CachedStmt is a statement that may be in a Cache. It is in use from Use, or from when the cache has given it, to Release.
type CachedStmt[T any] struct {
	*Stmt
	Info T

	inUse      bool
	kept       bool // Release resets it
	prev, next *CachedStmt[T]
}

// NewCache makes a cache of at most max statements.
func NewCache[T any](max int) *Cache[T] {
	c := &Cache[T]{max: max, byText: make(map[string]*CachedStmt[T])}
	c.list.prev, c.list.next = &c.list, &c.list
	return c
}

// Len returns how many statements there are.
func (c *Cache[T]) Len() int { return len(c.byText) }

// All gives the statements, the one that was used longest ago first.
func (c *Cache[T]) All() iter.Seq[*CachedStmt[T]] {
	return func(yield func(*CachedStmt[T]) bool) {
		for s := c.list.prev; s != &c.list && yield(s); s = s.prev {
		}
	}
}

// Get returns the statement of a text, which is in use from now on; nil if there is none or it is in use already.
func (c *Cache[T]) Get(sql string) *CachedStmt[T] {
	s := c.byText[sql]
	if s == nil || s.inUse {
		return nil
	}
	if c.list.next != s {
		c.unlink(s)
		c.link(s)
	}
	s.inUse = true
	return s
}

// Put adds a statement, whose SQL returns the given text from now on. If the cache has one of that text, the statement is dropped.
func (c *Cache[T]) Put(sql string, s *CachedStmt[T]) {
	s.sql = sql
	if c.byText[sql] != nil {
		s.Drop()
		return
	}
	if len(c.byText) > 0 && len(c.byText) >= c.max {
		c.Take(c.list.prev.sql).Drop()
	}
	s.kept = true
	c.byText[sql] = s
	c.link(s)
}

// Take takes the statement of a text out of the cache, for its user to keep; nil if there is none.
func (c *Cache[T]) Take(sql string) *CachedStmt[T] {
	s := c.byText[sql]
	if s != nil {
		c.unlink(s)
		delete(c.byText, sql)
	}
	return s
}

// Clear drops all statements.
func (c *Cache[T]) Clear() {
	for c.list.next != &c.list {
		c.Take(c.list.next.sql).Drop()
	}
}

func (c *Cache[T]) unlink(s *CachedStmt[T]) { s.prev.next, s.next.prev = s.next, s.prev }

func (c *Cache[T]) link(s *CachedStmt[T]) {
	s.prev, s.next = &c.list, c.list.next
	s.prev.next, s.next.prev = s, s
}

// InUse reports whether the statement is in use.
func (s *CachedStmt[T]) InUse() bool { return s.inUse }

// Use puts the statement into use.
func (s *CachedStmt[T]) Use() { s.inUse = true }

// Keep has Release reset the statement, though it is in no cache.
func (s *CachedStmt[T]) Keep() { s.kept = true }

// Release ends the statement's use: it is reset if it is kept, otherwise finalized.
func (s *CachedStmt[T]) Release() {
	switch {
	case !s.inUse:
	case s.kept:
		s.inUse = false
		s.Reset()
	default:
		s.inUse = false
		s.Finalize()
	}
}

// Drop finalizes the statement, as soon as it is not in use.
func (s *CachedStmt[T]) Drop() {
	s.kept = false
	if !s.inUse {
		s.Finalize()
	}
}
