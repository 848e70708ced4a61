//go:build !race

package storage

// raceEnabled: the race detector makes SQLite some fifteen times slower.
const raceEnabled = false
