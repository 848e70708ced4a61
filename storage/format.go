package storage

// What a room's file begins with, and the tables that it has; see the package's doc.

import (
	"github.com/denrooms/den/storage/changes"
	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/pagelog"
)

const (
	pageSize   = pagelog.PageSize
	usableSize = pageSize - dbfile.ReservedBytes // of a page of a file with checksums
	headerSize = 100
	magic      = "SQLite format 3\x00"
)

const layout = `
	CREATE TABLE _den_meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;` + changes.Schema

// The types of b-tree pages.
const (
	tableInner = 0x05 // it has pages below it
	indexLeaf  = 0x0A // the leaves of WITHOUT ROWID tables
	tableLeaf  = 0x0D // and of other tables
)
