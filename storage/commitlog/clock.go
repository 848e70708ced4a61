package commitlog

import "time"

// mostStep is the most time that is taken for passed between two looks at the clock.
const maxStep = 24 * time.Hour

// clock measures how old segments are, for History. A wall clock that is wrong for a while must
// neither keep a segment for years nor delete all at once: so what counts is the sum of the steps
// from one look at it to the next. A step back counts for nothing, and one forward for a day at most,
// which is too little only for a log that was not written to, or was closed, meanwhile: it keeps its
// history longer then. CURRENT has what it was, over restarts. Log.mu protects it.
type clock struct {
	elapsed int64 // ms since the log was made
	wall    int64 // Unix ms when it was looked at
}

// read looks at the clock.
func (c *clock) read(now time.Time) int64 {
	wall := now.UnixMilli()
	c.elapsed += min(max(wall-c.wall, 0), maxStep.Milliseconds())
	c.wall = wall
	return c.elapsed
}
