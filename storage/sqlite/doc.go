// Package sqlite is SQLite as Den uses it: so far its values, as bytes.
package sqlite
