package archive

import (
	"path/filepath"
	"testing"

	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/vfs"
)

// A table that cannot be written into the new file ends the restore.
func TestCarryThatDoesNotFit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new.db")
	if err := roomfile.Make(vfs.Host(), path); err != nil {
		t.Fatal(err)
	}
	c, err := roomfile.Open(vfs.Host(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const peers = `CREATE TABLE _den_peers (name TEXT PRIMARY KEY)`
	if err := c.Exec(peers); err != nil {
		t.Fatal(err)
	}
	if err := (table{name: "_den_peers", sql: peers, columns: 1, rows: [][]any{{"a"}}}).write(c); err != nil {
		t.Error(err)
	}
	for want, kept := range map[string]table{
		"its rows":       {name: "_den_peers", sql: peers, columns: 1, rows: [][]any{{"a"}, {"a"}}},
		"its definition": {name: "_den_others", sql: `CREATE TABLE`},
	} {
		if err := kept.write(c); err == nil {
			t.Errorf("%s: no error", want)
		}
	}
}
