package room

// Checking a data directory while no server runs, without changing it. Package storage opens the rooms in memory and
// checks their files. Here is what it needs to know of the directory, and the check of the tables that this package
// keeps in a room's file.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/denrooms/den/room/internal/alarms"
	"github.com/denrooms/den/room/internal/replies"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/roomfile"
)

type (
	// A Finding is what Verify has found.
	Finding = storage.Finding
	// Verified counts what Verify has checked.
	Verified = storage.Verified
)

// What a Finding means: see package storage.
const (
	Note    = storage.Note
	Problem = storage.Problem
)

// VerifyOptions say what Verify checks. Dir and Report are required.
type VerifyOptions struct {
	// Dir is the data directory.
	Dir string
	// FS has the files. nil means the machine's.
	FS storage.FS
	// Rooms are the rooms to check. None means all of Namespaces, the log and the index of alarms.
	Rooms []Key
	// Namespaces are the directories to look into. nil means all in Dir; required with another file system than the
	// machine's.
	Namespaces []string
	// Relaxed says that the host runs with Durability Relaxed.
	Relaxed bool
	// Report is called with each Finding.
	Report func(Finding)
}

// Verify checks rooms, the commit log and the history, as they would be if the directory were opened now: it replays
// log entries that a room's file lacks, in memory. It changes nothing on the disk. It takes the directory's lock. An
// error says that Verify could not run, or not to its end. Faults of the files go to Report.
func Verify(ctx context.Context, o VerifyOptions) (found Verified, err error) {
	if o.FS == nil {
		o.FS = storage.HostFS()
	}
	unlock, err := storage.LockDirForReading(o.FS, o.Dir)
	if err != nil {
		return found, fmt.Errorf("room: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if o.Namespaces == nil && len(o.Rooms) == 0 {
		if o.Namespaces, err = namespacesIn(o.Dir); err != nil {
			return found, fmt.Errorf("room: %w", err)
		}
	}
	v, err := storage.NewVerifier(storage.VerifyOptions{
		FS: o.FS, LogDir: filepath.Join(o.Dir, logDir), PastDir: filepath.Join(o.Dir, pastDir), Relaxed: o.Relaxed, Inspect: inspectTables, Report: o.Report,
	})
	if err != nil {
		return found, fmt.Errorf("room: %w", err)
	}
	others := 0 // that are not rooms
	defer func() {
		var failed error
		found, failed = v.Close()
		found.Rooms -= others
		err = errors.Join(err, failed)
	}()
	if len(o.Rooms) > 0 {
		return found, verifyRooms(ctx, v, o)
	}
	index := filepath.Join(o.Dir, alarmsDir, alarmsName+".db")
	if _, err := o.FS.Size(index); err == nil { // a missing index is rebuilt from the rooms' files
		others++
		v.Room(storage.Options{Path: index, Namespace: alarmsDir, Room: alarmsName})
	}
	return found, v.Dir(ctx, o.Dir, o.Namespaces...)
}

// verifyRooms checks some rooms, which must exist.
func verifyRooms(ctx context.Context, v *storage.Verifier, o VerifyOptions) error {
	for _, key := range o.Rooms {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		path, err := roomfile.Path(o.Dir, key.Namespace, key.Room)
		if err != nil {
			return fmt.Errorf("room: %w", err)
		}
		if !v.Room(storage.Options{Path: path, Namespace: key.Namespace, Room: key.Room}) {
			return fmt.Errorf("%s: %w", key, ErrNoRoom)
		}
		v.Beside(path)
	}
	return nil
}

// namespacesIn returns the namespaces that have a directory.
func namespacesIn(dir string) (namespaces []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), "_") // added to a device's name, see roomfile.Path
		if _, bad := roomfile.Path(dir, name, "x"); e.IsDir() && bad == nil {
			namespaces = append(namespaces, name)
		}
	}
	return namespaces, err
}

// ownForms are the tables that this package keeps in a room's file, if they are there, and the storage classes of
// their columns.
var ownForms = []struct {
	query string
	forms []storage.Type
}{
	{"SELECT id, subject, channel, seq, seen_at, here FROM _den_peers", []storage.Type{storage.Text, storage.Text, storage.Text, storage.Integer, storage.Integer, storage.Integer}},
	{"SELECT client, subject, mutation, seen_at FROM _den_clients", []storage.Type{storage.Text, storage.Text, storage.Integer, storage.Integer}},
	{"SELECT n, at, total, replies FROM _den_replies", []storage.Type{storage.Integer, storage.Integer, storage.Integer, storage.Blob}},
	{"SELECT run, serial, id, subject, named, claims, tags, attachment FROM _den_connections", []storage.Type{storage.Integer, storage.Integer, storage.Text, storage.Text, storage.Integer, storage.Text, storage.Text, storage.Blob}},
	{alarms.Columns, []storage.Type{storage.Text, storage.Integer, storage.Integer, storage.Integer, storage.Text, storage.Text}},
	{"SELECT version, name FROM _den_migrations", []storage.Type{storage.Integer, storage.Text}},
}

// inspectTables checks the rows of those tables.
func inspectTables(db *storage.DB) error {
	var all []error
	for _, table := range ownForms {
		_, name, _ := strings.Cut(table.query, " FROM ")
		name = strings.TrimSpace(name)
		there, err := db.Internal().HasTable(name)
		if err == nil && there {
			err = inspectTable(db, table.query, table.forms)
		}
		if err != nil {
			all = append(all, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(all...)
}

// inspectTable checks a table's rows. Replies must be readable.
func inspectTable(db *storage.DB, query string, forms []storage.Type) error {
	rows, err := db.Internal().Query(query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Expect(forms...); err != nil {
			return err
		}
		if !slices.Equal(rows.Columns(), []string{"n", "at", "total", "replies"}) {
			continue
		}
		if err := replies.Inspect(rows.Int(0), rows.Int(1), rows.Bytes(3)); err != nil {
			return err
		}
	}
	return rows.Err()
}
