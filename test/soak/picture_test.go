package main

import (
	"bytes"
	"image"
	"image/png"
	"math"
	"reflect"
	"testing"
	"time"
)

// ink counts the pixels of a rectangle that are of a line's colour.
func ink(m image.Image, r image.Rectangle) (n int) {
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			red, _, b, _ := m.At(x, y).RGBA()
			if max(red, b)-min(red, b) > 0x6000 { // the rest is grey
				n++
			}
		}
	}
	return n
}

// checkPicture: it decodes, and each panel has lines in it.
func checkPicture(t *testing.T, data []byte) {
	t.Helper()
	m, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if m.Bounds() != image.Rect(0, 0, width, height) {
		t.Fatalf("the picture is %v", m.Bounds())
	}
	const each = (bottom - top) / 4
	for i := range 4 {
		y := top + i*each
		if n := ink(m, image.Rect(left, y+headHeight, right, y+each-gap)); n < 300 {
			t.Errorf("panel %d has %d pixels of its lines", i, n)
		}
	}
	if n := ink(m, image.Rect(0, 0, left, height)); n != 0 {
		t.Errorf("lines leave their panels to the left: %d pixels", n)
	}
}

func TestPicture(t *testing.T) {
	samples := series(func(s *sample, part float64) {
		s.p50, s.p99, s.Heap, s.Awake = 500*time.Microsecond, 3*time.Millisecond, 100e6, 1500
	})
	all, err := growths(samples, 2*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c := config{length: 10 * time.Minute, sockets: 10_000, rooms: 2000}
	if err := soakPicture(c, samples, all).writePNG(&out); err != nil {
		t.Fatal(err)
	}
	checkPicture(t, out.Bytes())
}

// TestPictureOfLittle: a run that was cut short is drawn too.
func TestPictureOfLittle(t *testing.T) {
	var out bytes.Buffer
	if err := soakPicture(config{length: time.Minute}, []sample{{at: time.Second}}, nil).writePNG(&out); err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(&out); err != nil {
		t.Error(err)
	}
}

func TestAxes(t *testing.T) {
	for highest, want := range map[float64][]float64{
		0:      {0, 1},
		9_700:  {0, 5_000, 10_000},
		10_001: {0, 5_000, 10_000, 15_000},
		170:    {0, 50, 100, 150, 200},
		3:      {0, 1, 2, 3},
	} {
		if got := linear(highest).ticks; !reflect.DeepEqual(got, want) {
			t.Errorf("up to %v: ticks %v, want %v", highest, got, want)
		}
	}
	a := logarithmic(0.3, 42)
	if want := []float64{0.1, 1, 10, 100}; !reflect.DeepEqual(a.ticks, want) {
		t.Errorf("ticks %v, want %v", a.ticks, want)
	}
	if low, high := a.place(0.1), a.place(100); math.Abs(low) > 1e-9 || math.Abs(high-1) > 1e-9 {
		t.Errorf("the ends are at %v and %v", low, high)
	}
	for v, want := range map[float64]string{0: "0", 0.1: "0.1", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := grouped(v); got != want {
			t.Errorf("%v is written %q, want %q", v, got, want)
		}
	}
}
