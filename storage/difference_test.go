package storage

import (
	"slices"
	"testing"
)

// A difference that ends within a pair, or goes on behind the last one, is refused: by any number of bytes, one too.
func TestDifferenceThatIsCutOff(t *testing.T) {
	before, after := make([]byte, pageSize), make([]byte, pageSize)
	after[800], after[810] = 1, 2
	whole := appendDifference(nil, before, after) // of one pair
	for n := 1; n < len(whole); n++ {
		wantError(t, applyDifference(slices.Clone(before), whole[:n]), ErrCorrupt)
	}
	for last := range 256 {
		wantError(t, applyDifference(slices.Clone(before), append(slices.Clip(whole), byte(last))), ErrCorrupt)
	}
	if err := applyDifference(before, whole); err != nil || !slices.Equal(before, after) {
		t.Errorf("the whole one: %v", err)
	}
}
