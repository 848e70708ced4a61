package room_test

import (
	"fmt"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// The program's first version has guests with one name, and the second one with two: a
// migration fills the new columns.
type (
	GuestV1 struct {
		ID   string
		Name string
		room.Stamps
	}
	PartyV1 struct {
		room.Base
		Guests room.Table[GuestV1]
	}

	GuestV2 struct {
		ID    string
		First string
		Last  string
		Plus  int `den:",default=1"` // needs no migration: Den adds a new field's column itself
		room.Stamps
	}
	PartyV2 struct {
		room.Base
		Guests room.Table[GuestV2]
	}
)

func (r *PartyV1) Invite(c *room.Context, in GuestV1) error { return r.Guests.Insert(c, in) }

// splitNames makes the columns as they shall be, but for those that Den adds. Altering: a
// new room, which has no guests, makes the table from the struct instead.
func splitNames() room.Migration {
	return room.SQLMigration("2026-01 two names", `
		ALTER TABLE guests RENAME COLUMN name TO first;
		ALTER TABLE guests ADD COLUMN last TEXT NOT NULL DEFAULT '';
		UPDATE guests SET last = substr(first, instr(first, ' ') + 1), first = substr(first, 1, instr(first, ' ') - 1)`,
	).Altering("guests")
}

// A room goes through the migrations that it lacks when it wakes, before its handler starts.
func ExampleMigrations() {
	t := new(example) // in a test: the *testing.T
	defer t.end()
	version := 1
	h := roomtest.New(t, func(h *room.Host) error {
		if version == 1 {
			return h.Register("party", func() room.Handler { return new(PartyV1) }, room.Action("invite", (*PartyV1).Invite))
		}
		return h.Register("party", func() room.Handler { return new(PartyV2) }, room.Migrations(splitNames()))
	})
	h.Join("party", "garden", "ann").Do("guests", "invite", map[string]any{"id": "1", "name": "Ada Lovelace"})

	version = 2
	h.Reopen()
	ann := h.Join("party", "garden", "ann")
	fmt.Println(ann.Sync("guests")[0][:4])
	status, err := h.MigrationStatus(room.Key{Namespace: "party", Room: "garden"})
	fmt.Println(status.Applied, status.Pending(), err)
	// Output:
	// [1 Ada Lovelace 1]
	// [2026-01 two names] false <nil>
}
