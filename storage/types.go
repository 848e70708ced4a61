package storage

import (
	"github.com/denrooms/den/storage/changes"
	"github.com/denrooms/den/storage/commitlog"
	"github.com/denrooms/den/storage/internal/history"
	"github.com/denrooms/den/storage/internal/nodelog"
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/sqlite"
)

// Names of this package for what the packages below declare.

// Value is a column's value: nil, int64, float64, string or []byte.
type Value = sqlite.Value

// Type is the storage class of a value.
type Type = sqlite.Type

// The storage classes, in SQLite's sorting order but that numbers sort together.
const (
	Null    = sqlite.Null
	Integer = sqlite.Integer
	Float   = sqlite.Float
	Text    = sqlite.Text
	Blob    = sqlite.Blob
)

type (
	// Seq is a room's commit number: 1, 2, 3 … without gaps; 0 is before the first.
	Seq = changes.Seq
	// Commit is what an action did.
	Commit = changes.Commit
	// Row is a changed row.
	Row = changes.Row
	// Cell is a column of a Row.
	Cell = changes.Cell
	// Rows is the result of a query.
	Rows = session.Rows
	// Table is a declared table, for reading.
	Table = session.Table
	// Result is what a statement without rows did.
	Result = session.Result
	// Log makes transactions durable.
	Log = nodelog.Log
	// RoomLog is a room's part of a Log.
	RoomLog = nodelog.RoomLog
	// LogEntry is one transaction.
	LogEntry = nodelog.LogEntry
	// NodeLog is a node's commit log: the Log of all of its rooms.
	NodeLog = nodelog.NodeLog
	// LogOptions say where a node's commit log is.
	LogOptions = commitlog.Options
	// Point is a point in a room's history.
	Point = history.Point
	// HistoryError reports that a room's state at a Point is not available, and which states are.
	HistoryError = history.Error
	// ChangePlace is a place in the changes of one table, see Table.SincePart.
	ChangePlace = changes.Place
)

// OpenLog opens a node's commit log, or makes it.
func OpenLog(o LogOptions) (*NodeLog, error) { return nodelog.OpenLog(o) }
