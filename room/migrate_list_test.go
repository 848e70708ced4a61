package room_test

import (
	"strings"
	"testing"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// A list of migrations that cannot be right is refused when the namespace is registered, and the error says why.
func TestMigrationListsThatAreRefused(t *testing.T) {
	named := func(name string) room.Option { return room.Migrations(room.SQLMigration(name, makeBooks)) }
	for name, c := range map[string]struct {
		options []room.Option
		refused string // what the error says; "" where there is none
	}{
		"a name of 200 bytes": {[]room.Option{named(strings.Repeat("n", 200))}, ""},
		"a name of 201 bytes": {[]room.Option{named(strings.Repeat("n", 201))}, "1 to 200 bytes"},
		"a name of 1 byte":    {[]room.Option{named("n")}, ""},
		"no name":             {[]room.Option{named("")}, "1 to 200 bytes"},
		"no function":         {[]room.Option{room.Migrations(room.GoMigration("nothing", nil))}, "no function"},
		"the zero Migration":  {[]room.Option{room.Migrations(room.Migration{})}, "1 to 200 bytes"},
		"a name twice":        {[]room.Option{room.Migrations(room.SQLMigration("a", makeBooks), room.SQLMigration("b", "SELECT 1"), room.SQLMigration("a", "SELECT 1"))}, "migration 3"},
		"a list twice":        {[]room.Option{named("a"), named("b")}, "one list"},
	} {
		t.Run(name, func(t *testing.T) {
			h := roomtest.New(t, func(*room.Host) error { return nil })
			err := h.Register("library", func() room.Handler { return new(library) }, append(c.options, room.Synced("books"))...)
			if c.refused == "" && err != nil || c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)) {
				t.Errorf("got %v, want an error with %q", err, c.refused)
			}
			if err == nil && !strings.Contains(dump(t, h, "r"), "Moby Dick") {
				t.Error("the migration did not run")
			}
		})
	}
}
