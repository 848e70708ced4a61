package storage_test

import (
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/archive"
)

// The tests of package storage itself get package archive, which they cannot import.
func init() {
	storage.SetArchive(archive.Begin, archive.Write, archive.WriteAt, archive.PrepareRestore, archive.PrepareImport)
}
