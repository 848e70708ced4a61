package room

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

// Types that encoding/json decodes alone are decoded before the room's turn; all others in it.
func TestDecodesItself(t *testing.T) {
	type list struct {
		Next *list
		Name string
	}
	type deep struct {
		M map[string][]*struct{ A netip.Addr }
	}
	type hidden struct{ embedsItself }
	for of, want := range map[reflect.Type]bool{
		reflect.TypeFor[struct{}](): false,
		reflect.TypeFor[list]():     false,
		reflect.TypeFor[any]():      false,
		reflect.TypeFor[struct {
			T time.Time
			R json.RawMessage
		}](): false,
		reflect.TypeFor[struct {
			N json.Number
			I []map[string]int
		}](): false,
		reflect.TypeFor[deep]():                true,
		reflect.TypeFor[hidden]():              true,
		reflect.TypeFor[struct{ time.Time }](): true, // which has Time's method, but is not Time
		reflect.TypeFor[map[netip.Addr]int]():  true,
		reflect.TypeFor[*[2]netip.Addr]():      true,
	} {
		if got := decodesItself(of); got != want {
			t.Errorf("%s: %v", of, got)
		}
	}
}

type embedsItself struct{ A netip.Addr }
