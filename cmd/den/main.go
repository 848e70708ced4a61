// Den serves the example rooms of Den, and has commands for operators.
//
//	den [flags]     serve
//	den migrate     run the rooms' migrations
//	den version     print the version
//	den rooms       list the rooms
//	den alarms      list the rooms' alarms
//	den backup, restore, export, import, compact: work on rooms
//	den log         list the missing files of the commit log, and give them up
//	den verify      check rooms, log and history without changing anything
//
// den -h lists the flags, with the environment variables that set their defaults. den COMMAND -h lists those of a
// command.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := run(ctx, os.Args[1:], os.Getenv)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "den:", err)
		os.Exit(exitCode(err))
	}
}

func run(ctx context.Context, args []string, getenv func(string) string) error {
	if len(args) > 0 && args[0] == "version" {
		fmt.Println("den", version())
		return nil
	}
	if len(args) > 0 && args[0] == "help" {
		args = append(args[1:], "-h")
	}
	if len(args) > 0 && args[0] == "migrate" {
		return migrate(ctx, args[1:], getenv, os.Stdout, terminal(os.Stderr), os.Stderr)
	}
	if len(args) > 0 && args[0] == "verify" {
		return verify(ctx, args[1:], getenv, os.Stdout, os.Stderr)
	}
	if len(args) > 0 && args[0] == "log" {
		return showLog(args[1:], getenv, os.Stdout, os.Stderr)
	}
	if len(args) > 0 && taskUsage[args[0]] != "" {
		return runTask(ctx, args[0], args[1:], getenv)
	}
	config, err := parseConfig(args, getenv, os.Stderr)
	if err != nil {
		return err
	}
	server, err := newServer(config, config.logger(os.Stderr))
	if err != nil {
		return err
	}
	return server.run(ctx)
}

// version returns the module's version, and the commit from which it was built.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			v += " " + s.Value[:12]
		}
	}
	return v + " " + info.GoVersion
}
