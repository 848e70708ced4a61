package alarms

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// What becomes of a periodic alarm where the clocks change, against a table made by hand.
func TestCronWhereClocksChange(t *testing.T) {
	for _, c := range []struct {
		what, cron, zone, from string
		want                   []string
	}{
		{"a time that is skipped is the moment of the change", "30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"}},
		{"several that are skipped are one", "0,20,40 2,3 29 3 *", "Europe/Berlin", "2026-03-28T12:00:00Z",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-29T03:20:00+02:00"}},
		{"of a time that comes twice the first", "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"}},
		{"and not the second, asked in between", "30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z",
			[]string{"2026-10-26T02:30:00+01:00"}},
		{"a time behind the one that came twice", "0 3 * * *", "Europe/Berlin", "2026-10-25T00:10:00Z",
			[]string{"2026-10-25T03:00:00+01:00"}},
		{"every hour goes by real hours in autumn", "*/30 * * * *", "Europe/Berlin", "2026-10-25T00:10:00Z",
			[]string{"2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:00:00+01:00"}},
		{"and in spring", "15 * * * *", "Europe/Berlin", "2026-03-29T00:10:00Z",
			[]string{"2026-03-29T01:15:00+01:00", "2026-03-29T03:15:00+02:00"}},
		{"a midnight that is not there", "0 0 * * *", "America/Santiago", "2026-09-05T12:00:00Z",
			[]string{"2026-09-06T01:00:00-03:00", "2026-09-07T00:00:00-03:00"}},
		{"every half hour of a day without a midnight", "*/30 * 6 9 *", "America/Santiago", "2026-09-05T12:00:00Z",
			[]string{"2026-09-06T01:00:00-03:00", "2026-09-06T01:30:00-03:00"}},
		{"a change of half an hour", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T02:00:00Z",
			[]string{"2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"}},
		{"and back", "45 1 * * *", "Australia/Lord_Howe", "2026-04-04T02:00:00Z",
			[]string{"2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"}},
		{"a day that was skipped as a whole", "0 9 30 12 *", "Pacific/Apia", "2011-12-29T00:00:00Z",
			[]string{"2011-12-31T00:00:00+14:00", "2012-12-30T09:00:00+14:00"}},
		{"a zone without changes", "@daily", "Asia/Kolkata", "2026-01-01T00:00:00Z",
			[]string{"2026-01-02T00:00:00+05:30", "2026-01-03T00:00:00+05:30"}},
		{"29 February over 2100", "0 0 29 2 *", "", "2096-03-01T00:00:00Z", []string{"2104-02-29T00:00:00Z"}},
		{"one of two days", "0 0 13 * 5", "", "2026-01-03T00:00:00Z", []string{"2026-01-09T00:00:00Z", "2026-01-13T00:00:00Z"}},
		{"within the minute", "* * * * *", "", "2026-01-03T00:00:59.999Z", []string{"2026-01-03T00:01:00Z", "2026-01-03T00:02:00Z"}},
	} {
		s, err := new(Zones).Parse(c.cron, c.zone)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		from, err := time.Parse(time.RFC3339, c.from)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for range c.want {
			from = s.Next(from)
			got = append(got, from.Format(time.RFC3339))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

// next never steps back, and over a year gives each day once, in zones of all kinds.
func TestCronEveryDayOnce(t *testing.T) {
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Tehran", "America/Sao_Paulo", "Antarctica/Troll"} {
		for _, expression := range []string{"30 0 * * *", "30 1 * * *", "30 2 * * *", "0 3 * * *"} {
			s, err := new(Zones).Parse(expression, zone)
			if err != nil {
				t.Fatal(err)
			}
			at, days := time.Date(2018, 1, 1, 12, 0, 0, 0, s.zone), map[string]int{}
			for range 365 {
				next := s.Next(at)
				if !next.After(at) {
					t.Fatalf("%s in %s: behind %v comes %v", expression, zone, at, next)
				}
				at = next
				days[at.Format(time.DateOnly)]++
			}
			if len(days) != 365 {
				t.Errorf("%s in %s: %d days in 365 steps", expression, zone, len(days))
			}
		}
	}
}

func TestCronRefuses(t *testing.T) {
	for _, c := range []struct{ cron, zone string }{
		{"", ""}, {"* * * *", ""}, {"60 * * * *", ""}, {"* * * * * *", ""}, {"@every 1s", ""}, {" @every 1h", ""}, {"@reboot", ""},
		{"TZ=Asia/Tokyo 0 0 * * *", ""}, {"CRON_TZ=Asia/Tokyo 0 0 * * *", ""}, {"*/0 * * * *", ""}, {"H * * * *", ""},
		{strings.Repeat(" ", 257), ""}, {"0 0 * * *", "Mars/Olympus"}, {"0 0 * * *", "Local"}, {"0 0 * * *", "../etc/passwd"},
	} {
		if s, err := new(Zones).Parse(c.cron, c.zone); err == nil {
			t.Errorf("%q in %q: %v, %v", c.cron, c.zone, s, err)
		}
	}
	s, err := new(Zones).Parse("0 0 30 2 *", "")
	if err != nil || !s.Next(time.Now()).IsZero() {
		t.Errorf("30 February: %v", err)
	}
}
