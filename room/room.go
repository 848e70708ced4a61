package room

// What all parts of a room's life share.

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
	number  uint64 // which life of the actor this is
	log     *slog.Logger
	memory  *hibernate.Memory // of what the room has to send
	db      *storage.DB
	handler Handler
	ctx     context.Context // for work outside; ends with the life
	end     context.CancelFunc
	why     WakeReason
	crashed bool // when it began, rooms had not yet taken from the log what an earlier process left

	running atomic.Pointer[actionMessage] // the numbered action in work; nil: none
	watch   watch
	work    work

	// Owned by the actor.

	random randomness
	alarms alarms.Table
	place  place

	lost     func(*turn, error) // takes back what the parts of the life remember of a turn that is lost
	alone    int                // how many messages are to have a turn each, see recent.Losses
	troubled bool               // the operator was told of a full disk, and nothing was committed since

	// gate is held while what a commit allows is handed out, and by Abandon: a life
	// that was fenced hands out nothing.
	gate   sync.Mutex
	acting recent.Culprit // whose action is in work; the zero one: nobody's is; protected by gate
	fenced bool
}

// randomness is what a life draws random values from.
type randomness struct {
	source io.Reader
	rand   *rand.Rand // over source
}

func (r *room) now() time.Time { return r.node.now() }

// seed gives each life randomness of its own, the same in a repeated run.
func (r *room) seed() {
	s := r.node.process.seed
	sum := fnv.New64a()
	fmt.Fprintf(sum, "%s\x00%d", r.name, r.number)
	binary.LittleEndian.PutUint64(s[24:], binary.LittleEndian.Uint64(s[24:])^sum.Sum64())
	source := rand.NewChaCha8(s)
	r.random.source, r.random.rand = source, rand.New(source)
}

// connections are the room's connections now.
func (r *room) connections() []*hibernate.Connection {
	return r.ns.rooms.Connections(r.key.Room)
}

func (r *room) isFenced() bool {
	r.gate.Lock()
	defer r.gate.Unlock()
	return r.fenced
}

// place is the cursor of all that the room has done so far, and what it was made of.
type place struct {
	epoch string // short
	seq   storage.Seq
	text  string
}

// cursor gives the cursor of all that the room has done so far, the open batch's part
// included.
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

// condemn fences the life because of the hook in work, and notes whose that is. The watch calls it while the hook is in work, and
// Abandon again: the second call does nothing.
func (r *room) condemn() {
	r.gate.Lock()
	first, db, who := !r.fenced, r.db, r.acting
	r.fenced = true
	r.gate.Unlock()
	if !first {
		return
	}
	if m := r.running.Load(); m != nil {
		r.node.recent.hangs.Note(r.numberedBy(m), m.mutation, m.digest)
	}
	if who != (recent.Culprit{}) {
		r.blame(who)
	}
	if db != nil {
		db.Fence()
	}
}

// blame notes a panic or a hang of what a client has called for, and logs what follows from it.
func (r *room) blame(who recent.Culprit) {
	if r.node.recent.culprits.Note(who, r.now()) {
		r.log.Warn("a type of action is not run for a client for a minute, because it has failed three times",
			"action", who.Action, "subject", who.Subject, "hint", "the panics before this line have the stack")
	}
}

// act notes whose action is in work; the zero culprit: none is.
func (r *room) act(who recent.Culprit) {
	r.gate.Lock()
	defer r.gate.Unlock()
	r.acting = who
}

func (r *room) culprit(conn *hibernate.Connection, action string) recent.Culprit {
	c := recent.Culprit{Room: r.key, Subject: conn.Identity.Subject, Action: action}
	if c.Subject == "" {
		c.Serial = conn.Serial
	}
	return c
}

// numberedBy is the client that has sent a numbered action.
func (r *room) numberedBy(m *actionMessage) recent.Client {
	return recent.Client{Room: r.key, ID: m.client, Subject: m.conn.Identity.Subject}
}
