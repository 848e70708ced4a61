package room

import (
	"context"

	"github.com/denrooms/den/internal/inner"
)

// What is for Den's own packages alone; see package inner.

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
	if err := h.actors.Quiet(ctx); err != nil {
		return err
	}
	for _, ns := range h.namespacesNow() {
		ns.pool.Wait() // a millisecond or two
	}
	return h.presence.Flush(ctx)
}

func (i *innerHost) Settle(ctx context.Context, key Key) error {
	h := (*Host)(i)
	if err := h.check(key); err != nil {
		return err
	}
	if _, err := h.actors.Request(ctx, key, barrierMessage{}); err != nil {
		return err
	}
	return h.presence.Flush(ctx)
}

func (i *innerHost) SettleAlarms(ctx context.Context) error {
	h := (*Host)(i)
	if err := h.alarms.WaitIdle(ctx); err != nil {
		return err
	}
	for _, name := range h.alarms.Failing() { // their lives end after the answer
		if err := h.actors.Ended(ctx, keyNamed(name)); err != nil {
			return err
		}
	}
	return nil
}

func (i *innerHost) Crash(ctx context.Context, key Key) error { return i.actors.Kill(ctx, key) }

func (i *innerHost) ScratchFile() (string, error) { return (*Host)(i).scratchFile() }

func (i *innerSession) Mark() uint64        { return i.conn.Mark() }
func (i *innerSession) Confirm(mark uint64) { i.conn.Confirm(mark) }
func (i *innerSession) Confirmed() uint64   { return i.conn.Confirmed() }

func (i *innerSession) Received() bool {
	_, answered := i.conn.ConfirmedSeq()
	return answered
}
