//go:build race

package sim

// raceEnabled: the race detector makes SQLite some fifteen times slower.
const raceEnabled = true
