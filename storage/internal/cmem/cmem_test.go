package cmem

import (
	"testing"
	"unsafe"
)

func TestStrings(t *testing.T) {
	memory := make([]byte, 8)
	p := uintptr(unsafe.Pointer(unsafe.SliceData(memory)))
	if PutString(p, 4, "four") {
		t.Error("a text was put where there is no room for its NUL")
	}
	if !PutString(p, 8, "four") || String(p) != "four" || string(Bytes(p, 5)) != "four\x00" {
		t.Errorf("the memory holds %q", memory)
	}
	copied, view := String(p), StringView(p)
	PutInt32(p, 0)
	PutInt32(0, 1) // is not stored anywhere
	if copied != "four" || view != "\x00\x00\x00\x00" {
		t.Errorf("the copy is %q and the view %q after the memory was zeroed", copied, view)
	}
	if String(0) != "" || Bytes(0, 1) != nil || Bytes(p, 0) != nil {
		t.Error("nothing is not empty")
	}
}

func double(n int) int { return 2 * n }

func TestFunctions(t *testing.T) {
	if got := Method[func(int) int](Func(double))(21); got != 42 {
		t.Errorf("the function at double's address gives %d for 21", got)
	}
}

func TestHandles(t *testing.T) {
	var h Handles[int]
	values := make([]int, 2*handlesPerChunk)
	handles := make([]uintptr, len(values))
	for i := range values {
		var err error
		if handles[i], err = h.Add(&values[i]); err != nil || handles[i] == 0 {
			t.Fatalf("handle %d, %v", handles[i], err)
		}
	}
	for i, handle := range handles {
		if h.Find(handle) != &values[i] {
			t.Fatalf("handle %d finds another value", handle)
		}
	}
	if h.Find(0) != nil || new(Handles[int]).Find(7) != nil {
		t.Error("a number that is no handle finds something")
	}
	h.Set(handles[3], &values[0])
	if h.Find(handles[3]) != &values[0] {
		t.Error("Set was not seen")
	}
	h.Remove(handles[3])
	if h.Find(handles[3]) != nil {
		t.Error("a removed handle finds something")
	}
	if again, err := h.Add(&values[5]); err != nil || again != handles[3] || h.Find(again) != &values[5] {
		t.Errorf("the free handle %d was not used again, but %d; %v", handles[3], again, err)
	}
}

func TestHandlesRunOut(t *testing.T) {
	var h Handles[int]
	h.last = handlesPerChunk*maxChunks - 1
	if _, err := h.Add(new(int)); err != ErrNoHandle {
		t.Errorf("got %v", err)
	}
}
