package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/denrooms/den/room"
)

// config has the values of the flags and the environment.
type config struct {
	addr    string
	data    string
	origins []string
	hosts   []string
	proxies []netip.Prefix
	level   slog.Level
	format  string

	durability room.Durability
	idle       time.Duration
	awake      int
	memory     int64
	scrub      time.Duration
}

// leastMemory is the smallest -memory with which clients can be served.
const leastMemory = 16 << 20

// unknownCommand returns the error for an argument that is not a flag.
func unknownCommand(name string) error {
	if taskUsage[name] != "" || slices.Contains([]string{"migrate", "verify", "log", "version"}, name) {
		return fmt.Errorf("the command comes first: den %s [flags]", name)
	}
	return fmt.Errorf("unknown command %q; see den -h", name)
}

func parseConfig(args []string, getenv func(string) string, output io.Writer) (config, error) {
	var c config
	var origins, hosts, proxies, level, durability, idle, awake, memory, scrub string
	flags := flag.NewFlagSet("den", flag.ContinueOnError)
	flags.SetOutput(output)
	env := func(name, fallback string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return fallback
	}
	flags.StringVar(&c.addr, "addr", env("DEN_ADDR", "localhost:8787"), "`address` to listen on; port 0 selects a free port (DEN_ADDR)")
	flags.StringVar(&c.data, "data", env("DEN_DATA", "data"), "`directory` of the rooms' databases (DEN_DATA)")
	flags.StringVar(&origins, "origins", env("DEN_ORIGINS", ""), "`origins` of other hosts' pages that may reach rooms, comma-separated, like https://app.example.com (DEN_ORIGINS)")
	flags.StringVar(&hosts, "hosts", env("DEN_HOSTS", ""), "`names` of this server in clients' URLs, comma-separated, like rooms.example.com. Without names, a server on a loopback address accepts only localhost, and any other server every name (DEN_HOSTS)")
	flags.StringVar(&proxies, "trusted-proxies", env("DEN_TRUSTED_PROXIES", ""), "`addresses` of proxies whose X-Forwarded-Host, -Proto and -For are believed, comma-separated, like 127.0.0.1 or 10.0.0.0/8 (DEN_TRUSTED_PROXIES)")
	flags.StringVar(&durability, "durability", env("DEN_DURABILITY", "durable"), "what survives a power cut: durable, relaxed or files (DEN_DURABILITY)")
	flags.StringVar(&idle, "idle", env("DEN_IDLE", "10s"), "a `duration` like 10s after which an idle room sleeps, or never (DEN_IDLE)")
	flags.StringVar(&awake, "max-awake", env("DEN_MAX_AWAKE", "0"), "how many rooms may be awake; 0 means 2048, or what the process's descriptors allow (DEN_MAX_AWAKE)")
	flags.StringVar(&memory, "memory", env("DEN_MEMORY", "0"), "how many `bytes` of messages may wait in the server, like 512MiB or 2GiB; 0 means half of what the machine or the cgroup has (DEN_MEMORY)")
	flags.StringVar(&scrub, "scrub", env("DEN_SCRUB", "30d"), "the `time` in which all rooms' files are read once in the background to find damaged pages, like 30d or 12h, or 0 for never (DEN_SCRUB)")
	flags.StringVar(&level, "log-level", env("DEN_LOG_LEVEL", "info"), "debug, info, warn or error (DEN_LOG_LEVEL)")
	flags.StringVar(&c.format, "log-format", env("DEN_LOG_FORMAT", "text"), "text or json (DEN_LOG_FORMAT)")
	flags.Usage = func() {
		fmt.Fprint(output, "Den serves rooms. Each is an actor with a SQLite database of its own.\n\nUsage: den [flags] | den rooms|alarms|backup|restore|export|import|compact|migrate|verify|log [flags] | den version\nden COMMAND -h describes a command\n\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if flags.NArg() > 0 {
		return c, unknownCommand(flags.Arg(0))
	}
	if err := c.level.UnmarshalText([]byte(level)); err != nil {
		return c, fmt.Errorf("-log-level %q: want debug, info, warn or error", level)
	}
	if c.format != "text" && c.format != "json" {
		return c, fmt.Errorf("-log-format %q: want text or json", c.format)
	}
	var err error
	if c.durability, err = parseDurability(durability); err != nil {
		return c, err
	}
	if c.idle, err = parseIdle(idle); err != nil {
		return c, err
	}
	if c.awake, err = strconv.Atoi(awake); err != nil || c.awake < 0 {
		return c, fmt.Errorf("-max-awake %q: want a number of rooms", awake)
	}
	if c.memory, err = parseBytes(memory); err != nil {
		return c, fmt.Errorf("-memory %q: %w", memory, err)
	}
	if c.memory > 0 && c.memory < leastMemory {
		return c, fmt.Errorf("-memory %q: want at least 16MiB: one message may have 1 MiB, and each client's queue several", memory)
	}
	if c.scrub, err = parseScrub(scrub); err != nil {
		return c, err
	}
	c.origins, c.hosts = parseList(origins), parseList(hosts)
	c.proxies, err = parseProxies(proxies)
	return c, err
}

// parseProxies reads addresses and networks.
func parseProxies(text string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, entry := range parseList(text) {
		if addr, err := netip.ParseAddr(entry); err == nil {
			list = append(list, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(entry)
		if err != nil {
			return nil, fmt.Errorf("-trusted-proxies %q: want an address like 127.0.0.1, or a network like 10.0.0.0/8", entry)
		}
		list = append(list, prefix)
	}
	return list, nil
}

// units are the suffixes of a number of bytes. The empty one is last, because it fits every text.
var units = []struct {
	suffix string
	bytes  int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"B", 1}, {"", 1}}

// parseBytes reads a number of bytes, with a unit or without.
func parseBytes(text string) (int64, error) {
	for _, unit := range units {
		number, is := strings.CutSuffix(text, unit.suffix)
		if !is {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/unit.bytes {
			break
		}
		return n * unit.bytes, nil
	}
	return 0, errors.New("want a number of bytes, like 512MiB or 2GiB")
}

// parseList reads a comma-separated list.
func parseList(text string) []string {
	var list []string
	for entry := range strings.SplitSeq(text, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			list = append(list, entry)
		}
	}
	return list
}

// parseDurability reads a durability. It does not accept room.Unsynced, which is for tests.
func parseDurability(text string) (room.Durability, error) {
	switch text {
	case "durable":
		return room.Durable, nil
	case "relaxed":
		return room.Relaxed, nil
	case "files":
		return room.DurableFiles, nil
	}
	return 0, fmt.Errorf("-durability %q: want durable, relaxed or files", text)
}

// parseIdle reads the time after which an idle room sleeps. It returns a negative time for never.
func parseIdle(text string) (time.Duration, error) {
	if text == "never" {
		return -1, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("-idle %q: want a time like 10s, or never", text)
	}
	return d, nil
}

// parseScrub reads the time in which all files are scrubbed. It returns a negative time for 0.
func parseScrub(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if number, is := strings.CutSuffix(text, "d"); is {
		var days uint64
		days, err = strconv.ParseUint(number, 10, 16)
		d = time.Duration(days) * 24 * time.Hour
	}
	if err != nil || d < 0 || d > 0 && d < leastScrub {
		return 0, fmt.Errorf("-scrub %q: want a time like 30d or 12h, an hour at least, or 0", text)
	}
	if d == 0 {
		d = -1
	}
	return d, nil
}

// leastScrub is the shortest -scrub.
const leastScrub = time.Hour

func (c config) logger(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: c.level}
	if c.format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
