//go:build !linux

package main

import "errors"

var errNoProc = errors.New("what a process needs is read from /proc, which only Linux has")

func canSoak(int) error { return errNoProc }

func residentBytes(int) (int64, error) { return 0, errNoProc }

func descriptors(int) (int, error) { return 0, errNoProc }
