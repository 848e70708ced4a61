package sqlite

import (
	"math"
	"reflect"
	"testing"
)

func TestValues(t *testing.T) {
	sorted := []Value{nil, math.Inf(-1), int64(math.MinInt64), -1.5, int64(-1), int64(0), 0.5, int64(1), int64(1 << 53), int64(1<<53 + 1), float64(1<<53 + 2), int64(math.MaxInt64), 9.3e18, "", "a", "a\x00", "b", []byte{}, []byte{0}}
	for i, a := range sorted {
		for j, b := range sorted {
			got := Compare(AppendValue(nil, a), AppendValue(nil, b))
			if (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("compare(%v, %v) = %d", a, b, got)
			}
		}
	}
	if Compare(AppendValue(nil, 1.0), AppendValue(nil, int64(1))) != 0 {
		t.Error("1.0 is not 1")
	}
	row := []Value{nil, int64(5), 1.5, "tex\x00t", []byte{1}, ""}
	var image []byte
	for _, v := range row {
		image = AppendValue(image, v)
	}
	if got := Values(image, len(row)); !reflect.DeepEqual(got, row) {
		t.Errorf("decoded %#v", got)
	}
}
