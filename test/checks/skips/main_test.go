package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestRead has a package with a test that passes, one that fails and two that are skipped, and one that does not build.
func TestRead(t *testing.T) {
	in := strings.Join([]string{
		`{"Action":"start","Package":"p"}`,
		`{"Action":"output","Package":"p","Test":"TestGood","Output":"=== RUN   TestGood\n"}`,
		`{"Action":"output","Package":"p","Test":"TestGood","Output":"    a_test.go:1: chatter\n"}`,
		`{"Action":"pass","Package":"p","Test":"TestGood"}`,
		`{"Action":"output","Package":"p","Test":"TestRoot","Output":"=== RUN   TestRoot\n"}`,
		`{"Action":"output","Package":"p","Test":"TestRoot","Output":"    a_test.go:18: mounting takes root\n"}`,
		`{"Action":"output","Package":"p","Test":"TestRoot","Output":"--- SKIP: TestRoot (0.00s)\n"}`,
		`{"Action":"skip","Package":"p","Test":"TestRoot"}`,
		`{"Action":"skip","Package":"p","Test":"TestQuiet"}`,
		`{"Action":"output","Package":"p","Test":"TestBad","Output":"=== RUN   TestBad\n"}`,
		`{"Action":"output","Package":"p","Test":"TestBad","Output":"--- FAIL: TestBad (0.00s)\n"}`,
		`{"Action":"output","Package":"p","Test":"TestBad","Output":"    a_test.go:9: wrong\n"}`,
		`{"Action":"fail","Package":"p","Test":"TestBad"}`,
		`{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}`,
		`{"Action":"fail","Package":"p"}`,
		`{"Action":"skip","Package":"nothing"}`,
		`{"Action":"output","Package":"q","Output":"PASS\n"}`,
		`{"Action":"output","Package":"q","Output":"ok  \tq\t0.1s\n"}`,
		`{"ImportPath":"r","Action":"build-output","Output":"r.go:1: no\n"}`,
		`go: not JSON`,
	}, "\n")
	var out bytes.Buffer
	skipped, err := read(strings.NewReader(in), &out)
	if err != nil {
		t.Fatal(err)
	}
	if want := "--- FAIL: TestBad (0.00s)\n    a_test.go:9: wrong\nFAIL\tp\t0.1s\nok  \tq\t0.1s\nr.go:1: no\ngo: not JSON"; out.String() != want {
		t.Errorf("it writes\n%s\nwant\n%s", out.String(), want)
	}
	if got, want := strings.Join(skipped, ""), "p TestRoot: mounting takes root\np TestQuiet: it does not say why\n"; got != want {
		t.Errorf("skipped are\n%s\nwant\n%s", got, want)
	}
}
