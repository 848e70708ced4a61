package room

// What the parts of a room's life share.

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/room/internal/alarms"
	"github.com/denrooms/den/room/internal/recent"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// A room is what the parts of one life of a room share: its names, its file and its handler.
type room struct {
	// Immutable after Start.

	node    *node
	ns      *namespace
	key     Key
	name    string // the key as hibernate knows it
	number  uint64 // the number of this life of the actor
	log     *slog.Logger
	memory  *hibernate.Memory // of what the room is about to send
	db      *storage.DB
	handler Handler
	ctx     context.Context // for work outside; ends with the life
	end     context.CancelFunc
	why     WakeReason
	crashed bool // when the life began, rooms had not yet recovered from a crash

	running atomic.Pointer[actionMessage] // the numbered action in work; nil: none
	watch   watch
	work    work

	// Owned by the actor.

	random randomness
	alarms alarms.Table
	place  place

	lost     func(*turn, error) // undoes what the parts of the life remember of a lost turn
	alone    int                // how many messages get a turn each, see recent.Losses
	diskFull bool               // the operator was told of a full disk, and nothing has been committed since

	// gate is held while the results of a commit are delivered, and by Abandon: a fenced life delivers nothing.
	gate   sync.Mutex
	caller recent.Caller // the one whose action is in work, if any; protected by gate
	fenced bool
}

// randomness is what a life draws random values from.
type randomness struct {
	source io.Reader
	rand   *rand.Rand // over source
}

func (r *room) now() time.Time { return r.node.now() }

// seed gives each life its own randomness, which is the same in a repeated run.
func (r *room) seed() {
	s := r.node.process.seed
	sum := fnv.New64a()
	fmt.Fprintf(sum, "%s\x00%d", r.name, r.number)
	binary.LittleEndian.PutUint64(s[24:], binary.LittleEndian.Uint64(s[24:])^sum.Sum64())
	source := rand.NewChaCha8(s)
	r.random.source, r.random.rand = source, rand.New(source)
}

// connections returns the room's connections now.
func (r *room) connections() []*hibernate.Connection {
	return r.ns.rooms.Connections(r.key.Room)
}

func (r *room) isFenced() bool {
	r.gate.Lock()
	defer r.gate.Unlock()
	return r.fenced
}

// place is the cursor of the room's current state, and what it was made of.
type place struct {
	epoch string // short
	seq   storage.Seq
	text  string
}

// cursor returns the cursor of the room's current state, including the open batch.
func (r *room) cursor() string {
	p := &r.place
	if seq := r.db.Seq(); p.text == "" || p.seq != seq {
		p.seq, p.text = seq, syncproto.Cursor{Epoch: r.shortEpoch(), Seq: uint64(seq)}.String()
		if bug.On("cursor-high") {
			p.text = syncproto.Cursor{Epoch: r.shortEpoch(), Seq: uint64(seq) + 1}.String()
		}
	}
	return p.text
}

func (r *room) shortEpoch() string {
	if r.place.epoch == "" {
		name, err := hex.DecodeString(r.db.Epoch())
		if err != nil {
			name = []byte(r.db.Epoch())
		}
		r.place.epoch = syncproto.ShortEpoch(name)
	}
	return r.place.epoch
}

// fenceHung fences the life because a hook hangs, and notes for which client the hook runs. The watch calls it while
// the hook runs, and Abandon calls it again, without effect.
func (r *room) fenceHung() {
	r.gate.Lock()
	first, db, who := !r.fenced, r.db, r.caller
	r.fenced = true
	r.gate.Unlock()
	if !first {
		return
	}
	if m := r.running.Load(); m != nil {
		r.node.recent.hangs.Note(r.numberedBy(m), m.mutation, m.digest)
	}
	if who != (recent.Caller{}) {
		r.noteFailure(who)
	}
	if db != nil {
		db.Fence()
	}
}

// noteFailure records that a client's action panicked or hung, and logs if that disables the action type.
func (r *room) noteFailure(who recent.Caller) {
	if r.node.recent.panics.Note(who, r.now()) {
		r.log.Warn("an action type is disabled for a client for a minute, because it has failed three times",
			"action", who.Action, "subject", who.Subject, "hint", "the panics before this line have the stack")
	}
}

// setCaller notes whose action is in work; the zero Caller: nobody's.
func (r *room) setCaller(who recent.Caller) {
	r.gate.Lock()
	defer r.gate.Unlock()
	r.caller = who
}

func (r *room) callerOf(conn *hibernate.Connection, action string) recent.Caller {
	c := recent.Caller{Room: r.key, Subject: conn.Identity.Subject, Action: action}
	if c.Subject == "" {
		c.Serial = conn.Serial
	}
	return c
}

// numberedBy returns the client that has sent a numbered action.
func (r *room) numberedBy(m *actionMessage) recent.Client {
	return recent.Client{Room: r.key, ID: m.client, Subject: m.conn.Identity.Subject}
}
