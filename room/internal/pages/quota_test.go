package pages

import (
	"testing"
	"time"
)

// A turn that reads rows looks at the clock by their bytes, too.
func TestQuotaOfLargeRows(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	q := NewQuota(clockOf(func() time.Time { return now }), TurnBytes)
	if !q.Row(LookBytes) {
		t.Fatal("the first row ends the piece")
	}
	now = now.Add(turnTime)
	if !q.Row(1) {
		t.Error("a short row ends the piece, and the clock was looked at for it")
	}
	if q.Row(LookBytes) || !q.Spent() {
		t.Error("a long row after the turn's time does not end the piece")
	}
}

// clockOf is a Clock that asks a function.
type clockOf func() time.Time

func (c clockOf) Now() time.Time { return c() }
