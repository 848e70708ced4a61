package room

// Which clients a room may have forgotten. A room forgets a client that was not seen for
// Options.ClientRetention, and would take its number 1 for that of a new client. So a client may put
// into its id when it was made: one that is not known, and old enough to have been forgotten, is
// refused at every number, before anything of it is applied.
//
//	client  13 decimal digits, Unix milliseconds by the client's clock · "." · at least 16 bytes
//
// Any other id is bare and has no time. A time that is more than a day ahead of the room's is not
// believed: the id counts as bare. A room keeps a client until its time, too, is past the retention,
// so a clock that is ahead by less makes no gap.

import (
	"strings"
	"time"

	"github.com/denrooms/den/syncproto"
)

const (
	timeDigits    = 13
	minClientRest = 16
	maxClientLead = 24 * time.Hour
)

// madeAt is the time in a client's id, Unix milliseconds; 0: it has none, or none that is believed.
func madeAt(client string, now time.Time) int64 {
	digits, rest, found := strings.Cut(client, ".")
	if !found || len(digits) != timeDigits || len(rest) < minClientRest {
		return 0
	}
	var at int64
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0
		}
		at = at*10 + int64(c-'0')
	}
	if at > now.Add(maxClientLead).UnixMilli() {
		return 0
	}
	return at
}

// mayBeForgotten reports whether a client that is not known may have been known before.
func (l *life) mayBeForgotten(client string, now time.Time) bool {
	at := madeAt(client, now)
	return at != 0 && at <= now.Add(-l.host.opts.ClientRetention).UnixMilli()
}

// An unknownClient is the refusal of one.
type unknownClient struct {
	next uint64 // the number with which it may begin; 0: it needs a new id
	now  int64  // Unix milliseconds
}

func (*unknownClient) Error() string { return "room: unknown client" }

func notKnown(next uint64, now time.Time) error {
	message := "The room does not know this client. Begin with the number 1, or with a new client id if that was answered before."
	if next == 0 {
		message = "The room does not know this client any more. Begin with a new client id and the number 1."
	}
	return &Error{Code: syncproto.CodeUnknownClient, Message: message, cause: &unknownClient{next: next, now: now.UnixMilli()}}
}
