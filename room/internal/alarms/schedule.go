package alarms

// When a periodic alarm is due: cron expressions, and what they mean where a time zone's clocks change. The parser is
// github.com/netresearch/go-cron, the maintained fork of robfig/cron. It is only asked within a period in which the zone's
// offset from UTC is constant. The changes are handled here.

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // a room's alarms must not depend on what is installed on a machine

	"github.com/netresearch/go-cron"
)

const (
	// maxCron is the longest cron expression, in bytes.
	maxCron = 256
	// Years is how many years ahead the next time is searched for. From 29 February 2096 to the next one it is 8
	// years.
	Years = 12
)

// A Schedule is a cron expression in a time zone.
type Schedule struct {
	cron   *cron.SpecSchedule
	zone   *time.Location
	hourly bool // it names every hour
}

// Zones are the time zones that were looked up, of some 600 that exist. The zero value is ready to use.
type Zones struct{ known sync.Map } // name → *time.Location

func (z *Zones) load(name string) (*time.Location, error) {
	if zone, there := z.known.Load(name); there {
		return zone.(*time.Location), nil
	}
	if name == "Local" {
		return nil, errors.New("the time zone Local differs between machines")
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("the time zone %.64q: %w", name, err)
	}
	z.known.Store(name, zone)
	return zone, nil
}

// Parse reads a cron expression of five fields or one like @daily.
func (z *Zones) Parse(expression, zone string) (Schedule, error) {
	if len(expression) > maxCron {
		return Schedule{}, fmt.Errorf("a cron expression of %d bytes: at most %d", len(expression), maxCron)
	}
	if strings.Contains(expression, "=") || strings.HasPrefix(strings.TrimSpace(expression), "@every") {
		return Schedule{}, fmt.Errorf("the cron expression %q: want five fields, or @hourly, @daily, @weekly, @monthly, @yearly; the time zone is a parameter of its own", expression)
	}
	location, err := z.load(zone)
	if err != nil {
		return Schedule{}, err
	}
	parser := cron.MustNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor | cron.DowOrDom)
	parsed, err := parser.WithMaxSearchYears(Years).Parse(expression)
	if err != nil {
		return Schedule{}, fmt.Errorf("the cron expression %q: %w", expression, err)
	}
	spec, plain := parsed.(*cron.SpecSchedule)
	if !plain {
		return Schedule{}, fmt.Errorf("the cron expression %q is not of a kind that alarms support", expression)
	}
	const everyHour = 1<<24 - 1
	return Schedule{spec, location, spec.Hour&everyHour == everyHour}, nil
}

// Next returns the first time after t, to the minute, or the zero time if there is none within 12 years.
//
// A time that the clocks skip in spring counts as the moment at which they do. Of a time that they
// show twice in autumn the first counts. An expression that names every hour goes by real
// hours instead: none is skipped, and none comes twice.
func (s Schedule) Next(t time.Time) time.Time {
	from, within := t, t.In(s.zone) // search after from, in the offset of within as long as that lasts
	if start, _ := within.ZoneBounds(); !s.hourly && !start.IsZero() {
		before := start.Add(-time.Second).In(s.zone)
		if shown := start.Add(offset(before) - offset(within) - time.Second); from.Before(shown) {
			from = shown // the clocks have shown the times up to here before
		}
	}
	for {
		_, end := within.ZoneBounds()
		next := s.cron.Next(from.In(time.FixedZone("", int(offset(within)/time.Second))))
		if next.IsZero() {
			return time.Time{}
		}
		if end.IsZero() || next.Before(end) {
			return next.In(s.zone)
		}
		after := end.In(s.zone)
		change := offset(after) - offset(within)
		from, within = end.Add(-time.Second), after // the moment of the change itself may be meant
		switch {
		case s.hourly:
		case change > 0 && next.Before(end.Add(change)):
			return after
		case change < 0:
			from = end.Add(-change - time.Second)
		}
	}
}

func offset(t time.Time) time.Duration {
	_, seconds := t.Zone()
	return time.Duration(seconds) * time.Second
}
