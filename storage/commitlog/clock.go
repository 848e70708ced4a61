package commitlog

import "time"

// maxStep is the most time that counts as passed between two readings.
const maxStep = 24 * time.Hour

// clock measures how old segments are, for Options.History. A wall clock that is wrong for a while must neither keep
// a segment for years nor delete all segments at once. So the clock adds up the steps of the wall clock between
// readings. A step back counts as 0, and a step forward as a day at most. A log that was not used for longer keeps
// its history longer. CURRENT keeps the clock across restarts. Log.mu protects it.
type clock struct {
	elapsed int64 // ms that have passed since the log was made
	wall    int64 // Unix ms of the last reading
}

// read advances the clock to now, and returns the time that has passed, in ms.
func (c *clock) read(now time.Time) int64 {
	wall := now.UnixMilli()
	c.elapsed += min(max(wall-c.wall, 0), maxStep.Milliseconds())
	c.wall = wall
	return c.elapsed
}
