package transport

import (
	"strings"
	"sync"
	"time"
)

// Telling the operator whom the server refuses. Who is refused can come again as often as it likes,
// so each name is logged once a minute.

const (
	refusedEvery = int64(time.Minute)
	refusedNames = 256 // that are remembered
	shownBytes   = 200 // of a name that somebody else has chosen
)

// A refusedLog remembers which names were logged when. Its methods are safe from any goroutine; its
// zero value is ready.
type refusedLog struct {
	mu   sync.Mutex
	last map[string]int64 // Handler.now of the last line
}

// due reports whether a refusal of name is to be logged, and takes note that it was. Of more names
// than can be remembered, one a minute is.
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

// shown is what is logged and answered of a name that came over the network.
func shown(name string) string {
	if len(name) > shownBytes {
		name = name[:shownBytes] + "…"
	}
	return strings.ToValidUTF8(name, "�")
}
