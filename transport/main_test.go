package transport

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// The whole suite runs twice: with every socket parked at every message boundary, and with
// none ever parked. Where nothing can be parked (park_other.go) both are the same.
var parking = flag.String("transport.park", "both", "how sockets are parked in the tests: always, never, or both, one after the other")

// parkAfter is the ParkAfter of the tests' servers, unless a test sets it.
var parkAfter = parkModes["always"]

var parkModes = map[string]int64{"always": 1, "never": -1}

type suite struct{ m *testing.M }

func (s suite) Run() (code int) {
	flag.Parse()
	measures := flag.Lookup("test.bench").Value.String() != "" || flag.Lookup("test.fuzz").Value.String() != "" || flag.Lookup("test.list").Value.String() != ""
	for _, mode := range []string{"always", "never"} {
		if *parking != mode && *parking != "both" {
			continue
		}
		if testing.Verbose() {
			fmt.Println("sockets are parked:", mode)
		}
		if parkAfter = parkModes[mode]; measures {
			parkAfter = 0 // the default
		}
		if code = s.m.Run(); code != 0 {
			fmt.Printf("it failed with -transport.park=%s\n", mode)
			return code
		}
		if measures {
			return code // once is enough
		}
	}
	return code
}

// Every socket, timer and flusher of the suite must be gone at its end. The same
// binary serves as the benchmarks' far end; see sink_test.go.
func TestMain(m *testing.M) {
	if os.Getenv(sinkVariable) != "" {
		os.Exit(sink(os.Stdin, os.Stdout))
	}
	goleak.VerifyTestMain(suite{m})
}
