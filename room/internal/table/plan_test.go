package table

import "testing"

func TestSnake(t *testing.T) {
	for name, want := range map[string]string{
		"ID": "id", "Text": "text", "CreatedAt": "created_at", "HTTPPort": "http_port", "UserID": "user_id", "Line2": "line2", "A": "a",
	} {
		if got := Snake(name); got != want {
			t.Errorf("Snake(%q) = %q, want %q", name, got, want)
		}
	}
}
