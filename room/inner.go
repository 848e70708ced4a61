package room

import (
	"context"

	"github.com/denrooms/den/internal/inner"
)

// What only Den's own packages may use; see package inner.

// Inner is for Den's own packages.
func (h *Host) Inner(inner.Access) inner.Host { return (*innerHost)(h) }

// Inner is for Den's own packages.
func (o *Options) Inner(inner.Access) *inner.Options { return &o.inner }

// Inner is for Den's own packages.
func (s *Session) Inner(inner.Access) inner.Session { return (*innerSession)(s) }

type innerHost Host

type innerSession Session

func (i *innerHost) Quiet(ctx context.Context) error {
	h := (*Host)(i)
	if err := h.node.actors.Quiet(ctx); err != nil {
		return err
	}
	for _, ns := range h.node.namespacesNow() {
		ns.pool.Wait() // one or two milliseconds
	}
	return h.node.presence.Flush(ctx)
}

func (i *innerHost) Settle(ctx context.Context, key Key) error {
	h := (*Host)(i)
	if err := h.node.check(key); err != nil {
		return err
	}
	if _, err := h.node.actors.Request(ctx, key, barrierMessage{}); err != nil {
		return err
	}
	return h.node.presence.Flush(ctx)
}

func (i *innerHost) SettleAlarms(ctx context.Context) error {
	h := (*Host)(i)
	if err := h.node.alarms.WaitIdle(ctx); err != nil {
		return err
	}
	for _, name := range h.node.alarms.Failing() { // their lives end after the answer
		if err := h.node.actors.Ended(ctx, keyNamed(name)); err != nil {
			return err
		}
	}
	return nil
}

func (i *innerHost) Crash(ctx context.Context, key Key) error { return i.node.actors.Kill(ctx, key) }

func (i *innerHost) ScratchFile() (string, error) { return (*Host)(i).node.scratchFile() }

func (i *innerSession) Mark() uint64        { return i.conn.Mark() }
func (i *innerSession) Confirm(mark uint64) { i.conn.Confirm(mark) }
func (i *innerSession) Confirmed() uint64   { return i.conn.Confirmed() }

func (i *innerSession) Received() bool {
	_, answered := i.conn.ConfirmedSeq()
	return answered
}
