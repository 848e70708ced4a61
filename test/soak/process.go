package main

// The server as the clients' process sees it.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"time"
)

// startTime and figuresTime are limits for a server that is broken, not waits.
const (
	startTime   = 30 * time.Second
	figuresTime = 30 * time.Second
)

// A process is the running server.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer // the server stops when it is closed
	at    addresses
	http  http.Client

	ended chan struct{} // closed by the waiter, after err
	err   error         // how the process has ended
}

// start runs this program again, as the server, and waits until it listens.
func start(j job) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(program), ended: make(chan struct{}), http: http.Client{Timeout: figuresTime}}
	p.cmd.Env = append(os.Environ(), serverEnv+"="+string(text))
	p.cmd.Stderr = os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	slow := time.AfterFunc(startTime, func() { p.cmd.Process.Kill() }) // what is read below then ends
	err = json.NewDecoder(stdout).Decode(&p.at)
	slow.Stop()
	go func() { // ends with the process
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	if err != nil {
		p.stop() // why it ended stands on standard error
		return nil, fmt.Errorf("the server does not listen: %w", err)
	}
	return p, nil
}

// stop has the server stop in good order, and tells if it did not.
func (p *process) stop() error {
	p.stdin.Close()
	select {
	case <-p.ended:
	case <-time.After(stopTime + startTime):
		p.cmd.Process.Kill()
		<-p.ended
		return errors.New("the server did not stop")
	}
	return p.err
}

// look reads the server's figures and what the system says of its process.
func (p *process) look(ctx context.Context) (sample, error) {
	var s sample
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.at.Figures, nil)
	if err != nil {
		return s, err
	}
	answer, err := p.http.Do(request)
	if err != nil {
		return s, err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&s.figures); err != nil {
		return s, err
	}
	if s.rss, err = residentBytes(p.cmd.Process.Pid); err != nil {
		return s, err
	}
	s.descriptors, err = descriptors(p.cmd.Process.Pid)
	return s, err
}
