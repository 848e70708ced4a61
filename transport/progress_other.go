//go:build !linux

package transport

import "net"

// On this system the kernel is not asked, see progress.go.

func acknowledged(int) (bytes, rest uint64, ok bool)        { return 0, 0, false }
func acknowledgedOn(net.Conn) (bytes, rest uint64, ok bool) { return 0, 0, false }
func hungUp(net.Conn) bool                                  { return false }
func limitUnsent(net.Conn)                                  {}
