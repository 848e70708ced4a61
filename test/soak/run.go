package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

// soak runs a server and its clients as c says, writes what is asked for and says on out how it went. Its error is what
// was wrong.
func soak(ctx context.Context, c config, out io.Writer) error {
	if err := canSoak(c.sockets); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "den-soak-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server, err := start(job{Dir: dir, Idle: c.idle, Sockets: c.sockets})
	if err != nil {
		return err
	}
	tally := new(tally)
	samples, runErr := watch(ctx, c, server, tally)
	if err := server.stop(); err != nil {
		runErr = errors.Join(runErr, fmt.Errorf("the server ended: %w", err))
	}
	return errors.Join(runErr, report(c, samples, tally, out))
}

// watch has the clients do their work for as long as they shall, and samples the server meanwhile.
func watch(ctx context.Context, c config, server *process, tally *tally) ([]sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	rooms := make([]*todos, c.rooms)
	for i := range rooms {
		rooms[i] = new(todos)
	}
	began := time.Now()
	for i := range c.sockets {
		first := c.ramp * time.Duration(i) / time.Duration(c.sockets)
		clients.Go(func() { newClient(c, i, server.at.Rooms, rooms, tally).run(ctx, first) })
	}
	ticks := time.NewTicker(c.every)
	defer ticks.Stop()
	var samples []sample
	for time.Since(began) < c.length {
		select {
		case <-ctx.Done():
			return samples, fmt.Errorf("cut short after %v", time.Since(began).Round(time.Second))
		case <-server.ended:
			return samples, errors.New("the server is gone")
		case <-ticks.C:
		}
		s, err := server.look(ctx)
		if err != nil {
			return samples, fmt.Errorf("sampling: %w", err)
		}
		s.at = time.Since(began)
		s.see(tally.interval())
		samples = append(samples, s)
	}
	return samples, nil
}

// report judges a run, and writes it down in all the ways that are asked for.
func report(c config, samples []sample, tally *tally, out io.Writer) error {
	if len(samples) == 0 {
		return errors.New("nothing was sampled")
	}
	end := samples[len(samples)-1]
	end.counts, _ = tally.interval()
	seconds := end.at.Seconds()
	rate := func(n int) string { return fmt.Sprintf("%d (%.1f/s)", n, float64(n)/seconds) }
	fmt.Fprintf(out, "%s\n", c.title(end.at))
	fmt.Fprintf(out, "actions %s, refused %d; connects %s, left %d, hung up %d; rooms woken %s; rows read %s\n",
		rate(end.acts), end.refused, rate(end.connects), end.leaves, end.drops, rate(int(end.Lives)), rate(end.rows))
	if words := tally.refusalsByCode(); words != "" {
		fmt.Fprintf(out, "refused: %s\n", words)
	}
	for _, fault := range tally.firstFaults() {
		fmt.Fprintf(out, "fault: %s\n", fault)
	}
	all, err := growths(samples, c.warmUp())
	for _, g := range all {
		fmt.Fprintln(out, g)
	}
	err = errors.Join(err, judge(all, c.growth, end.counts), c.write(samples, all))
	if err == nil {
		fmt.Fprintln(out, "flat, without a fault")
	}
	return err
}

// title is what was done, in a line.
func (c config) title(took time.Duration) string {
	length := strings.Replace(took.Round(time.Second).String(), "m0s", "m", 1)
	return fmt.Sprintf("%s sockets in %s rooms for %s; server and clients share %d cores", grouped(float64(c.sockets)), grouped(float64(c.rooms)), length, runtime.NumCPU())
}

// write writes the picture and the samples, where they shall be.
func (c config) write(samples []sample, all []growth) error {
	var wrong []error
	if c.csv != "" {
		wrong = append(wrong, create(c.csv, func(w io.Writer) error { return writeCSV(w, samples) }))
	}
	if c.out != "" {
		picture := soakPicture(c, samples, all)
		wrong = append(wrong, create(c.out, picture.writePNG))
	}
	return errors.Join(wrong...)
}

func create(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
