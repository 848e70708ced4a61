package transport

import "fmt"

// fitConnections sets MaxConnections to what the process may open besides the rooms' files, and
// refuses a larger setting. limit is 0 if the process has no limit.
func (o *Options) fitConnections(limit, rooms int) error {
	left := limit - rooms
	switch {
	case o.MaxConnections == 0:
		o.MaxConnections = defaultConnections
		if limit > 0 {
			o.MaxConnections = max(1, min(defaultConnections, left))
		}
	case limit > 0 && o.MaxConnections > left:
		return fmt.Errorf("transport: MaxConnections %d: the process may have %d descriptors, of which rooms may take %d (room.Options.MaxAwake): raise the limit (ulimit -n, LimitNOFILE=) or lower one of them", o.MaxConnections, limit, rooms)
	}
	return nil
}
