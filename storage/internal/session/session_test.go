package session

import "testing"

// Which statements only delete.
func TestOnlyDeletes(t *testing.T) {
	for sql, want := range map[string][2]bool{
		"DELETE FROM t": {true, true}, " \t\r\n\f;delete from t": {true, true}, "UPDATE t SET deleted_at = 1": {false, true}, "update t SET deleted_at = 1": {false, true},
		"INSERT INTO t VALUES (1)": {}, "WITH x AS (SELECT 1) DELETE FROM t": {}, "DELETED": {}, "": {},
	} {
		if got := [2]bool{onlyDeletes(sql, false), onlyDeletes(sql, true)}; got != want {
			t.Errorf("%q: %v, want %v", sql, got, want)
		}
	}
}
