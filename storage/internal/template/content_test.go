package template

import (
	"strings"
	"testing"

	"github.com/denrooms/den/storage/sqlite"
)

// What fits into a page of _den_meta, to the last byte, and what does not.
func TestMetaPage(t *testing.T) {
	for what, rows := range map[string]map[string]sqlite.Value{
		"too long":      {"a": strings.Repeat("x", maxMetaRecord-4)},
		"of no type":    {"a": 1.5},
		"too many rows": {"a": strings.Repeat("x", 990), "b": strings.Repeat("x", 990), "c": strings.Repeat("x", 990), "d": strings.Repeat("x", 990), "e": strings.Repeat("x", 99)},
	} {
		if _, err := metaPage(rows); err == nil {
			t.Errorf("%s: a page was made", what)
		}
	}
	if _, err := metaPage(map[string]sqlite.Value{"a": strings.Repeat("x", maxMetaRecord-5)}); err != nil {
		t.Error(err)
	}
	full := map[string]sqlite.Value{} // 8 bytes of the page's header, and for each row 2 of its place and 999 and 2 more of its record
	for _, name := range []string{"a", "b", "c", "d"} {
		full[name] = strings.Repeat("x", 994)
	}
	full["e"] = strings.Repeat("x", usableSize-8-4*(2+2+5+994)-2-1-5)
	if _, err := metaPage(full); err != nil {
		t.Errorf("a page that is full to its last byte: %v", err)
	}
	full["e"] = full["e"].(string) + "x"
	if _, err := metaPage(full); err == nil {
		t.Error("a page that has a byte too much was made")
	}
}
