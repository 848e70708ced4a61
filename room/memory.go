package room

import (
	"time"

	"github.com/denrooms/den/hibernate"
)

// How much memory the messages of a node may take: Options.Memory. The host owns the budget. A message
// counts from when it is put into a room's mailbox until it is answered; what a room sends counts from
// the end of the turn until the last socket has taken it, once for all sockets.

const (
	// roomShare is of how many equal parts of Options.Memory one room may have one for what it sends.
	roomShare = 4
	// outsideShare is of how many equal parts of Options.Memory one is for requests that wait for a place in a mailbox.
	outsideShare = 4
	// unknownMemory is Options.Memory where the machine does not say how much it has.
	unknownMemory = 512 << 20
	// memoryTold is how often the operator is told that messages are refused.
	memoryTold = time.Minute
)

// defaultMemory is half of what the process may have.
func defaultMemory() int64 {
	if most := machineMemory(); most > 0 {
		return most / 2
	}
	return unknownMemory
}

// MemoryUsed is how many bytes of messages and frames the host keeps now, of the MemoryLimit that there may be.
func (h *Host) MemoryUsed() int64 { return h.memory.Used() }

// MemoryLimit is Options.Memory, or its default.
func (h *Host) MemoryLimit() int64 { return h.memory.Limit() }

// Memory is the budget of which a transport takes what waits for its sockets.
func (h *Host) Memory() *hibernate.Memory { return h.memory }

// admit takes the bytes of a message, and tells the operator where there are none left.
func (h *Host) admit(bytes int) error { return h.admitTo(h.memory, bytes) }

// admitTo is admit for a part of the memory.
func (h *Host) admitTo(memory *hibernate.Memory, bytes int) error {
	err := memory.Admit(bytes)
	if err == nil {
		return nil
	}
	now := h.opts.Clock.Now().UnixNano()
	if last := h.refusedAt.Load(); (last == 0 || now-last >= int64(memoryTold)) && h.refusedAt.CompareAndSwap(last, now) {
		h.opts.Logger.Warn("messages are refused with overloaded, because as much waits as may", "bytes", h.memory.Used(),
			"limit", h.memory.Limit(), "hint", "raise -memory (Options.Memory) if the machine has more")
	}
	return err
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
