//go:build !unix

package transport

import "net"

// attempt would write what a socket takes at once; here the flusher writes all.
func attempt(net.Conn, []byte) int { return 0 }
