package storage

// What a room's file begins with, and the tables that it has; see the package's doc.

import (
	"github.com/denrooms/den/storage/changes"
	"github.com/denrooms/den/storage/pagelog"
)

const (
	pageSize   = pagelog.PageSize
	headerSize = 100
	magic      = "SQLite format 3\x00"
)

const layout = `
	CREATE TABLE _den_meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;` + changes.Schema
