package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/room"
)

func environment(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func TestConfig(t *testing.T) {
	c, err := parseConfig(nil, environment(nil), io.Discard)
	if err != nil || c.addr != "localhost:8787" || c.data != "data" || c.origins != nil || c.level != slog.LevelInfo || c.format != "text" || c.durability != room.Durable || c.idle != 10*time.Second || c.awake != 0 {
		t.Errorf("with nothing set: %+v, %v", c, err)
	}
	vars := environment(map[string]string{"DEN_ADDR": ":1", "DEN_DATA": "/d", "DEN_ORIGINS": "https://a.example, https://b.example", "DEN_HOSTS": "rooms.example, www.example", "DEN_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8, ::1", "DEN_LOG_LEVEL": "debug", "DEN_LOG_FORMAT": "json"})
	c, err = parseConfig([]string{"-data", "/flag"}, vars, io.Discard)
	if err != nil || c.addr != ":1" || c.data != "/flag" || len(c.origins) != 2 || c.origins[1] != "https://b.example" || len(c.hosts) != 2 || c.hosts[1] != "www.example" || fmt.Sprint(c.proxies) != "[127.0.0.1/32 10.0.0.0/8 ::1/128]" || c.level != slog.LevelDebug || c.format != "json" {
		t.Errorf("with an environment and a flag: %+v, %v", c, err)
	}
	for text, want := range map[string]room.Durability{"durable": room.Durable, "relaxed": room.Relaxed, "files": room.DurableFiles} {
		if c, err := parseConfig([]string{"-durability", text}, environment(nil), io.Discard); err != nil || c.durability != want {
			t.Errorf("-durability %s: %v, %v", text, c.durability, err)
		}
		if c, err := parseConfig(nil, environment(map[string]string{"DEN_DURABILITY": text}), io.Discard); err != nil || c.durability != want {
			t.Errorf("DEN_DURABILITY=%s: %v, %v", text, c.durability, err)
		}
	}
	for text, want := range map[string]time.Duration{"0": -1, "0d": -1, "12h": 12 * time.Hour, "7d": 7 * 24 * time.Hour, "": 30 * 24 * time.Hour} {
		if c, err := parseConfig(nil, environment(map[string]string{"DEN_SCRUB": text}), io.Discard); err != nil || c.scrub != want {
			t.Errorf("DEN_SCRUB=%s: %v, %v", text, c.scrub, err)
		}
	}
	if c, err := parseConfig([]string{"-idle", "never", "-max-awake", "100"}, environment(nil), io.Discard); err != nil || c.idle >= 0 || c.awake != 100 {
		t.Errorf("-idle never -max-awake 100: %v, %d, %v", c.idle, c.awake, err)
	}
	for text, want := range map[string]int64{"0": 0, "16777216": 16 << 20, "20000000B": 20_000_000, "16384KiB": 16 << 20, "512MiB": 512 << 20, "2GiB": 2 << 30, "1 TiB": 1 << 40} {
		if c, err := parseConfig([]string{"-memory", text}, environment(nil), io.Discard); err != nil || c.memory != want {
			t.Errorf("-memory %s: %d, %v", text, c.memory, err)
		}
	}
	if c, err := parseConfig(nil, environment(map[string]string{"DEN_MEMORY": "1GiB"}), io.Discard); err != nil || c.memory != 1<<30 {
		t.Errorf("DEN_MEMORY=1GiB: %d, %v", c.memory, err)
	}
	for _, args := range [][]string{{"-memory", "much"}, {"-memory", "15MiB"}, {"-memory", "1"}, {"-memory", "-1"}, {"-memory", "1GB"}, {"-memory", "9000000TiB"}, {"-memory", "MiB"}, {"-durability", "unsynced"}, {"-log-level", "loud"}, {"-log-format", "xml"}, {"serve"}, {"-nonsense"}, {"-idle", "soon"}, {"-idle", "-1s"}, {"-max-awake", "many"}, {"-max-awake", "-1"}, {"-scrub", "often"}, {"-scrub", "-1h"}, {"-scrub", "1m"}, {"-scrub", "d"}, {"-scrub", "-1d"}, {"-scrub", "1.5d"}, {"-scrub", "99999d"}, {"-trusted-proxies", "localhost"}} {
		if _, err := parseConfig(args, environment(nil), io.Discard); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
	var help bytes.Buffer
	if _, err := parseConfig([]string{"-h"}, environment(nil), &help); !errors.Is(err, flag.ErrHelp) || !strings.Contains(help.String(), "DEN_ORIGINS") {
		t.Errorf("-h: %v, %s", err, help.String())
	}
}

func TestVersion(t *testing.T) {
	if err := run(t.Context(), []string{"version"}, environment(nil)); err != nil {
		t.Error(err)
	}
	if !strings.Contains(version(), "go1.") {
		t.Errorf("the version is %q", version())
	}
}

func start(t *testing.T, c config) (*server, error) {
	t.Helper()
	return newServer(c, slog.New(slog.DiscardHandler))
}

func TestServesAndStops(t *testing.T) {
	c := config{addr: "127.0.0.1:0", data: t.TempDir(), format: "text"}
	s, err := start(t, c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	url := "http://" + s.listener.Addr().String()
	for path, want := range map[string]int{"/": 200, "/app.js": 200, "/nothing": 404, "/parties/nowhere/r": 400, "/parties/todos/r": 404} {
		res, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("GET %s: %d, want %d", path, res.StatusCode, want)
		}
	}

	if _, err := start(t, c); err == nil || !strings.Contains(err.Error(), c.data) || !strings.Contains(err.Error(), "stop it") {
		t.Errorf("a second server on the same directory: %v", err)
	}
	other := config{addr: s.listener.Addr().String(), data: t.TempDir(), format: "text"}
	if _, err := start(t, other); err == nil || !strings.Contains(err.Error(), "DEN_ADDR") {
		t.Errorf("a second server on the same address: %v", err)
	}

	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	again, err := start(t, c)
	if err != nil {
		t.Fatalf("after it had stopped: %v", err)
	}
	again.abandon()
}

// What the flag says is what the host does: only with a commit log there is a directory for it.
func TestServesAsDurableAsAsked(t *testing.T) {
	for durability, log := range map[room.Durability]bool{room.Durable: true, room.Relaxed: true, room.DurableFiles: false} {
		c := config{addr: "127.0.0.1:0", data: t.TempDir(), format: "text", durability: durability}
		s, err := start(t, c)
		if err != nil {
			t.Fatal(err)
		}
		s.abandon()
		if _, err := os.Stat(filepath.Join(c.data, "_log")); errors.Is(err, fs.ErrNotExist) == log {
			t.Errorf("durability %d: the log's directory: %v", durability, err)
		}
	}
}
