package room

import (
	"testing"
	"time"
)

// The defaults are those that the fields' comments name.
func TestOptionsDefaults(t *testing.T) {
	var o Options
	o.setDefaults()
	const day = 24 * time.Hour
	for field, pair := range map[string][2]any{
		"MailboxSize":      {o.MailboxSize, 4096},
		"MailboxBytes":     {o.MailboxBytes, 16 << 20},
		"MaxBatch":         {o.MaxBatch, 256},
		"InFlight":         {o.InFlight, 256},
		"ActionTimeout":    {o.ActionTimeout, 5 * time.Second},
		"WorkTimeout":      {o.WorkTimeout, 60 * time.Second},
		"MigrationTimeout": {o.MigrationTimeout, 10 * time.Minute},
		"MaxRows":          {o.MaxRows, 10_000},
		"MaxActionBytes":   {o.MaxActionBytes, 64 << 20},
		"MaxRoomBytes":     {o.MaxRoomBytes, int64(10 << 30)},
		"History":          {o.History, 100_000},
		"MaxSnapshotBytes": {o.MaxSnapshotBytes, 64 << 20},
		"Durability":       {o.Durability, Durable},
		"Retention":        {o.Retention, 7 * day},
		"TimeTravel":       {o.TimeTravel, day},
		"CheckpointBytes":  {o.CheckpointBytes, int64(4 << 20)},
		"IdleAfter":        {o.IdleAfter, 10 * time.Second},
		"ReplyMemory":      {o.ReplyMemory, 1 << 20},
		"AlarmRooms":       {o.AlarmRooms, 16},
		"AlarmTries":       {o.AlarmTries, 6},
		"KeepReplaced":     {o.KeepReplaced, 30 * day},
		"ClientRetention":  {o.ClientRetention, 30 * day},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %v, want %v", field, pair[0], pair[1])
		}
	}
	off := Options{IdleAfter: -1, TimeTravel: -1, KeepReplaced: -1, AlarmRooms: -1}
	off.setDefaults()
	if off.IdleAfter >= 0 || off.TimeTravel >= 0 || off.KeepReplaced >= 0 || off.AlarmRooms >= 0 {
		t.Errorf("what was switched off is on: %v, %v, %v, %d", off.IdleAfter, off.TimeTravel, off.KeepReplaced, off.AlarmRooms)
	}
}
