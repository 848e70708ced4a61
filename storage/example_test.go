package storage_test

import (
	"fmt"
	"os"

	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/roomfile"
)

// A room's file, one batch with one action, and what a client that was away gets.
func Example() {
	dir, err := os.MkdirTemp("", "den")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := run(dir); err != nil {
		fmt.Println(err)
	}
	// Output:
	// commit 1: todos [1 tea 1000 1000 <nil>]
	// commit 2: todos [1 <nil> <nil> 2000 2000]
	// since 1: [1 <nil> <nil> 2000 2000]
}

func run(dir string) error {
	path, err := roomfile.Path(dir, "todos", "Our kitchen")
	if err != nil {
		return err
	}
	db, err := storage.Open(storage.Options{Path: path, Namespace: "todos", Room: "Our kitchen"})
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE todos (id INTEGER PRIMARY KEY, text, created_at, updated_at, deleted_at)`); err != nil {
		return err
	}
	if err := db.Sync("todos"); err != nil {
		return err
	}
	batch, err := db.Begin()
	if err != nil {
		return err
	}
	for i, sql := range []string{`INSERT INTO todos VALUES (1, 'tea', 1000, 1000, NULL)`, `DELETE FROM todos`} {
		commit, err := batch.Do(int64(1000*(i+1)), func() error {
			_, err := db.Exec(sql)
			return err
		})
		if err != nil {
			return err
		}
		for _, row := range commit.Rows {
			fmt.Printf("commit %d: %s %v\n", commit.Seq, row.Table, row.Values())
		}
	}
	if err := batch.Commit(); err != nil {
		return err
	}
	rows, err := db.Table("todos").Since(1)
	if err != nil {
		return err
	}
	for rows.Next() {
		fmt.Println("since 1:", rows.Values())
	}
	return rows.Err()
}
