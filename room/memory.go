package room

import (
	"sync/atomic"
	"time"

	"github.com/denrooms/den/hibernate"
)

// How much memory the messages of a node may take: Options.Memory. The host owns the budget. A message
// counts from when it is put into a room's mailbox until it is answered; what a room sends counts from
// the end of the turn until the last socket has taken it, once for all sockets.

const (
	// outsideShare is of how many equal parts of Options.Memory one is for requests that wait for a place in a mailbox.
	outsideShare = 4
	// toldEvery is how often the operator is told that messages are refused, or that clients are read slowly.
	toldEvery = time.Minute
)

// MemoryUsed is how many bytes of messages and frames the host keeps now, of the MemoryLimit that there may be.
func (h *Host) MemoryUsed() int64 { return h.memory.Used() }

// MemoryLimit is Options.Memory, or its default.
func (h *Host) MemoryLimit() int64 { return h.memory.Limit() }

// Memory is the budget of which a transport takes what waits for its sockets.
func (h *Host) Memory() *hibernate.Memory { return h.memory }

// Shares is what each client may have of the node while it has too much to do. A transport has those who are new wait for it.
func (h *Host) Shares() *hibernate.Shares { return h.shares }

// admit takes the bytes of a message, and tells the operator where there are none left.
func (h *Host) admit(bytes int) error { return h.admitTo(h.memory, bytes) }

// admitTo is admit for a part of the memory.
func (h *Host) admitTo(memory *hibernate.Memory, bytes int) error {
	err := memory.Admit(bytes)
	if err == nil {
		return nil
	}
	if h.due(&h.refusedAt) {
		h.opts.Logger.Warn("messages are refused with overloaded, because as much waits as may", "bytes", h.memory.Used(),
			"limit", h.memory.Limit(), "hint", "raise -memory (Options.Memory) if the machine has more")
	}
	return err
}

// due reports whether the operator is to be told something again, and notes that it is.
func (h *Host) due(told *atomic.Int64) bool {
	now, last := h.opts.Clock.Now().UnixNano(), told.Load()
	return (last == 0 || now-last >= int64(toldEvery)) && told.CompareAndSwap(last, now)
}

// tellCongested tells the operator that the node has far too much to do.
func (h *Host) tellCongested() {
	if h.due(&h.slowAt) {
		h.opts.Logger.Warn("clients are read slowly, because the server has too much to do",
			"hint", "each client has an equal share; more processors help")
	}
}

// keepWaiting counts what the turn is about to send, which waits for the commit. The frames are to be dropped when
// they have been handed over, or not.
func (t *turn) keepWaiting() []*hibernate.Frame {
	kept := t.life.turns.takeKept()
	for _, one := range t.out {
		for _, f := range one.frames {
			f.Keep(t.life.memory)
			kept = append(kept, f)
		}
	}
	return kept
}

func (t *turn) dropAll(kept []*hibernate.Frame) {
	for _, f := range kept {
		f.Drop()
	}
	t.life.turns.giveKept(kept)
}
