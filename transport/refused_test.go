package transport

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestRefusedLog(t *testing.T) {
	var l refusedLog
	second := int64(time.Second)
	for _, step := range []struct {
		name string
		at   int64
		want bool
	}{
		{"a", 1, true}, {"a", 2, false}, {"b", 30, true}, {"a", 59, false}, {"a", 61, true}, {"b", 61, false}, {"a", 62, false}, {"b", 90, true},
	} {
		if got := l.due(step.name, step.at*second); got != step.want {
			t.Errorf("due(%s) after %d s = %v, want %v", step.name, step.at, got, step.want)
		}
	}
}

func TestRefusedLogIsBounded(t *testing.T) {
	var l refusedLog
	lines := 0
	for i := range 10_000 {
		if l.due(strconv.Itoa(i), 1) {
			lines++
		}
	}
	if lines != refusedNames+1 || len(l.last) != refusedNames+1 {
		t.Errorf("%d lines, %d names remembered, want %d: each up to the limit, and one for the rest", lines, len(l.last), refusedNames+1)
	}
	if !l.due("new", 1+refusedEvery) || len(l.last) != 1 {
		t.Errorf("a minute after, %d names are remembered, want the new one alone", len(l.last))
	}
	if whole := strings.Repeat("x", shownBytes); shown(whole) != whole {
		t.Errorf("a name of %d bytes is shown as %s", len(whole), shown(whole))
	}
	if got := shown(strings.Repeat("é", 5_000)); len(got) > shownBytes+10 {
		t.Errorf("%d bytes of a name would be logged", len(got))
	}
}
