package syncproto_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/denrooms/den/syncproto"
)

// protocolTable reads the rows of PROTOCOL.md that have so many columns and
// whose first cell matches.
func protocolTable(t *testing.T, columns int, first string) map[string][]string {
	t.Helper()
	data, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	is := regexp.MustCompile("^`(" + first + ")`$")
	table := map[string][]string{}
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if m := is.FindStringSubmatch(cells[0]); m != nil && len(cells) == columns {
			if table[m[1]] != nil {
				t.Errorf("%s stands twice in PROTOCOL.md", m[1])
			}
			table[m[1]] = cells[1:]
		}
	}
	return table
}

// The table of request codes is what the code does.
func TestCodesAreDocumented(t *testing.T) {
	table := protocolTable(t, 4, "[a-z_]+")
	for _, code := range syncproto.Codes() {
		row := table[string(code)]
		delete(table, string(code))
		if row == nil {
			t.Errorf("%s is not in PROTOCOL.md", code)
			continue
		}
		advice := row[len(row)-1]
		if !strings.HasPrefix(advice, "no") && !strings.HasPrefix(advice, "yes") || strings.HasPrefix(advice, "yes") != code.Retryable() {
			t.Errorf("%s: PROTOCOL.md says %q, Retryable says %v", code, advice, code.Retryable())
		}
		if status := row[len(row)-2]; status != strconv.Itoa(code.HTTPStatus()) {
			t.Errorf("%s: PROTOCOL.md says HTTP %s, HTTPStatus says %d", code, status, code.HTTPStatus())
		}
	}
	for code := range table {
		t.Errorf("PROTOCOL.md has %s, which is no code", code)
	}
	if syncproto.Code("mine").Retryable() || syncproto.Code("mine").HTTPStatus() != 500 {
		t.Error("an unknown code must be final, and a 500 over HTTP")
	}
}

// The table of close codes is what the code does.
func TestCloseCodesAreDocumented(t *testing.T) {
	table := protocolTable(t, 3, `\d{4}`)
	for _, code := range syncproto.CloseCodes() {
		row := table[strconv.Itoa(code)]
		delete(table, strconv.Itoa(code))
		if row == nil {
			t.Errorf("%d is not in PROTOCOL.md", code)
			continue
		}
		advice := row[len(row)-1]
		if !strings.HasPrefix(advice, "no") && !strings.HasPrefix(advice, "yes") || strings.HasPrefix(advice, "yes") != syncproto.ComeBack(code) {
			t.Errorf("%d: PROTOCOL.md says %q, ComeBack says %v", code, advice, syncproto.ComeBack(code))
		}
	}
	for code := range table {
		t.Errorf("PROTOCOL.md has %s, which is no close code", code)
	}
}

func TestComeBackByRange(t *testing.T) {
	for code, want := range map[int]bool{1000: false, 1001: true, 1005: true, 1006: true, 1012: true, 3999: true, 4000: true, 4499: true, 4500: false, 4999: false, 5000: true} {
		if syncproto.ComeBack(code) != want {
			t.Errorf("%d: %v", code, !want)
		}
	}
}

// The limits that this package holds stand in PROTOCOL.md as they are.
func TestLimitsAreDocumented(t *testing.T) {
	data, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"| a message from a client | " + strconv.Itoa(syncproto.DefaultMaxBytes>>20) + " MiB |",
		"| nesting of arrays and objects | " + strconv.Itoa(syncproto.DefaultMaxDepth) + " levels",
		"| `id`, `channel`, `client`, an action's `type`, a textual `from` | " + strconv.Itoa(syncproto.MaxNameBytes) + " bytes",
		"| a client's `presence` | " + strconv.Itoa(syncproto.MaxPresenceBytes>>10) + " KiB |",
		"| `cursor` | " + strconv.Itoa(syncproto.MaxCursorBytes) + " bytes",
		"| a page of rows | " + strconv.Itoa(syncproto.DefaultPageBytes>>10) + " KiB",
	} {
		if !strings.Contains(string(data), text) {
			t.Errorf("PROTOCOL.md does not say %q", text)
		}
	}
}
