package transport

import (
	"strings"
	"sync"
	"time"
)

// Limits on what is logged of refusals. A refused client can try as often as it likes, so each name
// is logged at most once a minute.

const (
	refusedEvery = int64(time.Minute)
	refusedNames = 256 // that are remembered
	shownBytes   = 200 // of a name that comes from the network
)

// A refusedLog remembers when each name was logged. Its methods are safe for concurrent use. Its zero
// value is ready for use.
type refusedLog struct {
	mu   sync.Mutex
	last map[string]int64 // Handler.now of the last line
}

// due reports whether a refusal of name is to be logged, and notes that it was. If there are more names
// than can be remembered, one of the others is logged a minute.
func (l *refusedLog) due(name string, now int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == nil {
		l.last = make(map[string]int64)
	}
	if _, known := l.last[name]; !known && len(l.last) >= refusedNames {
		for old, at := range l.last {
			if now-at >= refusedEvery {
				delete(l.last, old)
			}
		}
		if len(l.last) >= refusedNames {
			name = "" // stands for the rest
		}
	}
	if at, known := l.last[name]; known && now-at < refusedEvery {
		return false
	}
	l.last[name] = now
	return true
}

// shown returns a name from the network as it is logged and answered: shortened and in valid UTF-8.
func shown(name string) string {
	if len(name) > shownBytes {
		name = name[:shownBytes] + "…"
	}
	return strings.ToValidUTF8(name, "�")
}
