//go:build race

package faultdisk

// raceEnabled: the race detector makes SQLite some fifteen times slower.
const raceEnabled = true
