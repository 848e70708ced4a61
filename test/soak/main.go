// Soak runs a server under many sockets that come, go and speak now and then, and looks whether its memory, its
// descriptors and its goroutines stay as they are.
//
//	go run ./test/soak -for 10m -sockets 10000 -rooms 2000 -out docs/soak.png
//
// The server is a process of its own (this program, started again): the todo fixture with default options, over a
// temporary directory. The clients are in this process. Each stays for a time of exponential distribution, leaves with a
// close frame or by hanging up, comes back under the same connection id after some seconds, and now and then creates,
// changes or deletes a todo. It checks what it gets: an action that is not answered by success or a coded error, a
// row that is no row, a connection that is lost, each is a fault.
//
// The exit code is 0 where there was no fault, and where after the warm-up the last third of the time needed no more
// of anything per connection than the middle third did, give or take 10 %. The picture shows the whole run. Only on Linux:
// what a process needs is read from /proc.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// serverEnv holds the server's job where the program was started to be the server.
const serverEnv = "DEN_SOAK_SERVER"

func main() {
	if job := os.Getenv(serverEnv); job != "" {
		os.Exit(serverMain(job))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	c, err := parseConfig(os.Args[1:], os.Stderr)
	if err == nil {
		err = soak(ctx, c, os.Stdout)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// config is what the flags say.
type config struct {
	length  time.Duration
	sockets int
	rooms   int
	idle    time.Duration // of the server: rooms sleep after it
	ramp    time.Duration // over which the first connections are spread
	every   time.Duration // between two samples
	stay    time.Duration // mean time of a connection
	away    time.Duration // mean time until it comes back
	speak   time.Duration // mean time between two actions of a client
	growth  float64       // of what is needed per connection, that is let pass
	seed    uint64        // of the clients' choices
	out     string        // the picture; empty: none
	csv     string        // the samples; empty: none
}

func parseConfig(args []string, out io.Writer) (config, error) {
	var c config
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.DurationVar(&c.length, "for", 10*time.Minute, "how long")
	flags.IntVar(&c.sockets, "sockets", 10_000, "clients; each has one socket while it is there")
	flags.IntVar(&c.rooms, "rooms", 2000, "rooms that they share")
	flags.DurationVar(&c.idle, "idle", 10*time.Second, "the server's IdleAfter: a room that has had nothing to do for so long sleeps")
	flags.DurationVar(&c.ramp, "ramp", time.Minute, "the clients come one after another over this time, a fifth of -for at most")
	flags.DurationVar(&c.every, "every", 2*time.Second, "time between two samples, an eighteenth of -for at most")
	flags.DurationVar(&c.stay, "stay", 2*time.Minute, "mean time that a client stays")
	flags.DurationVar(&c.away, "away", 5*time.Second, "mean time until it comes back")
	flags.DurationVar(&c.speak, "speak", time.Minute, "mean time between two actions of a client")
	flags.Float64Var(&c.growth, "growth", 0.10, "growth per connection that is let pass, from the middle third to the last; 0.10 is 10 %")
	flags.Uint64Var(&c.seed, "seed", 1, "of the clients' choices (not of the moments)")
	flags.StringVar(&c.out, "out", "docs/soak.png", "the picture; empty for none")
	flags.StringVar(&c.csv, "csv", "", "the samples as comma-separated values; empty for none")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if flags.NArg() > 0 {
		return c, fmt.Errorf("%q is no flag", flags.Arg(0))
	}
	c.ramp, c.every = min(c.ramp, c.length/5), min(c.every, c.length/(2*minSamples))
	return c, c.check()
}

func (c config) check() error {
	for _, d := range []time.Duration{c.length, c.idle, c.every, c.stay, c.away, c.speak} {
		if d <= 0 {
			return errors.New("every duration must be above 0")
		}
	}
	switch {
	case c.sockets <= 0 || c.rooms <= 0:
		return errors.New("-sockets and -rooms must be above 0")
	case c.growth < 0:
		return errors.New("-growth must not be below 0")
	}
	return nil
}

// warmUp is the time at the start in which growth means nothing.
func (c config) warmUp() time.Duration { return max(c.length/5, c.ramp) }
