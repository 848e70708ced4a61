package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/room"
)

// den migrate: the migration of a whole data directory that no server has open. Rooms also migrate when they
// wake. This command checks or migrates them earlier.

const migrateUsage = `Usage: den migrate --status | --all [-data directory]

Rooms are migrated when they wake. --all migrates every room of the directory, one after
another; if one fails, the others follow. --status changes nothing.
The exit code is 1 if a room failed or is of another version of the program.

`

// A migrator checks or migrates all rooms of a host.
type migrator struct {
	host     *room.Host
	out      io.Writer
	bar      io.Writer // nil if there is no terminal: then a line for each hundred rooms
	rooms    int
	done     int
	pending  int
	failures int
}

// errRoomsFailed is the error of a command that has printed the error of each room.
var errRoomsFailed = errors.New("not all rooms are in order")

// migrate runs den migrate.
func migrate(ctx context.Context, args []string, getenv func(string) string, out, bar io.Writer, help io.Writer) error {
	flags := flag.NewFlagSet("den migrate", flag.ContinueOnError)
	flags.SetOutput(help)
	fallback := getenv("DEN_DATA")
	if fallback == "" {
		fallback = "data"
	}
	data := flags.String("data", fallback, "`directory` of the rooms' databases (DEN_DATA)")
	status := flags.Bool("status", false, "print which rooms have migrations to come")
	all := flags.Bool("all", false, "migrate all rooms")
	flags.Usage = func() {
		fmt.Fprint(help, migrateUsage)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || *status == *all {
		return errors.New("migrate: want either --status or --all; see den migrate -h")
	}
	if _, err := os.Stat(*data); err != nil {
		return fmt.Errorf("migrate: the data directory: %w", err)
	}
	host, err := room.Open(room.Options{Dir: *data, Logger: slog.New(slog.DiscardHandler), AlarmRooms: -1, ScrubEvery: -1})
	if err != nil {
		return err
	}
	m := &migrator{host: host, out: out, bar: bar}
	err = todo.Register(host)
	if err == nil && *status {
		err = m.status(ctx)
	} else if err == nil {
		err = m.all(ctx)
	}
	return errors.Join(err, closeHost(host))
}

// closeHost shuts the host down, even if the work's context has ended.
func closeHost(h *room.Host) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	return h.Shutdown(ctx)
}

// status prints which rooms have migrations to come.
func (m *migrator) status(ctx context.Context) error {
	return m.each(ctx, func(key room.Key) error {
		s, err := m.host.MigrationStatus(key)
		switch {
		case err != nil:
			return err
		case s.Foreign != nil:
			return s.Foreign
		case s.Pending():
			m.pending++
			m.say("%s: %d of %d migrations", key, len(s.Applied), s.Known)
		}
		return nil
	}, func() {
		fmt.Fprintf(m.out, "%d rooms: %d up to date, %d with migrations to come, %d failed\n",
			m.rooms, m.rooms-m.pending-m.failures, m.pending, m.failures)
	})
}

// all migrates all rooms.
func (m *migrator) all(ctx context.Context) error {
	return m.each(ctx, func(key room.Key) error { return m.host.Migrate(ctx, key) }, func() {
		fmt.Fprintf(m.out, "%d rooms: %d up to date, %d failed\n", m.rooms, m.done-m.failures, m.failures)
	})
}

// each calls do for each room, and sum at the end.
func (m *migrator) each(ctx context.Context, do func(room.Key) error, sum func()) error {
	for _, namespace := range m.host.Namespaces() {
		for _, err := range m.host.Rooms(ctx, namespace) {
			if err == nil {
				m.rooms++
			}
		}
	}
	for _, namespace := range m.host.Namespaces() {
		for key, err := range m.host.Rooms(ctx, namespace) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err == nil {
				err = do(key)
			}
			if err != nil {
				m.failures++
				m.say("%s: failed: %v", name(namespace, key), err)
			}
			m.done++
			m.progress()
		}
	}
	m.clear()
	sum()
	if m.failures > 0 {
		return errRoomsFailed
	}
	return nil
}

// name returns the room's name, or the namespace's if the room is not known.
func name(namespace string, key room.Key) string {
	if key == (room.Key{}) {
		return namespace
	}
	return key.String()
}

const barWidth = 40

// progress draws the bar, or prints a line for each hundred rooms.
func (m *migrator) progress() {
	total := max(m.rooms, m.done)
	switch {
	case m.bar != nil:
		full := barWidth * m.done / total
		fmt.Fprintf(m.bar, "\r[%s%s] %d/%d", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), m.done, total)
	case m.done%100 == 0:
		fmt.Fprintf(m.out, "%d of %d rooms\n", m.done, total)
	}
}

// clear removes the bar.
func (m *migrator) clear() {
	if m.bar != nil {
		fmt.Fprint(m.bar, "\r\x1b[K")
	}
}

// say writes a line, above the bar.
func (m *migrator) say(format string, args ...any) {
	m.clear()
	fmt.Fprintf(m.out, format+"\n", args...)
}

// terminal returns f if it is a terminal, and otherwise nil.
func terminal(f *os.File) io.Writer {
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return f
}
