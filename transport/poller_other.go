//go:build !linux

package transport

import (
	"errors"
	"net"
)

// On this system no socket is parked: canPark returns false, and the other functions are never called.

type poller struct{}

func newPoller() (*poller, error)                    { return nil, errors.ErrUnsupported }
func (*poller) close()                               {}
func (*poller) add(int, int32) error                 { return errors.ErrUnsupported }
func (*poller) rearm(int, int32) error               { return errors.ErrUnsupported }
func (*poller) remove(int)                           {}
func (*poller) wait([]int32) ([]int32, error)        { return nil, errors.ErrUnsupported }
func canPark(net.Conn) bool                          { return false }
func dupDescriptor(net.Conn) (int, error)            { return -1, errors.ErrUnsupported }
func connFromDescriptor(int) (net.Conn, error)       { return nil, errors.ErrUnsupported }
func peerNetwork(int) string                         { return "" }
func readDescriptor(int, []byte) (n int, again bool) { return 0, false }
func writeDescriptor(int, []byte) int                { return 0 }
func closeDescriptor(int)                            {}
