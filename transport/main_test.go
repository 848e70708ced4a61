package transport

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Every socket, timer and flusher of the suite must be gone at its end. The same
// binary serves as the benchmarks' far end; see sink_test.go.
func TestMain(m *testing.M) {
	if os.Getenv(sinkVariable) != "" {
		os.Exit(sink(os.Stdin, os.Stdout))
	}
	goleak.VerifyTestMain(m)
}
