package edges

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// A hostile client draws strategies until ctx ends.
type hostile struct {
	name    string
	address string // of the server
	rooms   []string
	does    []strategy
	rng     *rand.Rand
	tried   map[string]int
}

// A strategy is something that a hostile client does. It makes a connection of its own, or some, and gives it back. That
// it is refused, or cut off, is no fault.
type strategy struct {
	name string
	do   func(h *hostile, ctx context.Context)
}

func strategies() []strategy {
	return []strategy{
		{"syncs with a cursor in one burst", (*hostile).syncs},
		{"a flood of actions", (*hostile).flood},
		{"large notes", (*hostile).notes},
		{"actions that panic", (*hostile).panics},
		{"work that goes on behind the action", (*hostile).later},
		{"broadcasts, and nothing read", (*hostile).deaf},
		{"a flood of presence", (*hostile).presence},
		{"a frame that never ends", (*hostile).endless},
		{"frames that are none", (*hostile).garbage},
		{"too large", (*hostile).oversized},
		{"pongs before the rest of a frame, and a quiet time", (*hostile).parked},
		{"connections that come and go", (*hostile).churn},
		{"another's connection id", (*hostile).twin},
		{"another's client id", (*hostile).thief},
		{"plain requests for rooms that nobody has", (*hostile).requests},
		{"foreign pages", (*hostile).foreign},
	}
}

func (h *hostile) run(ctx context.Context) {
	for ctx.Err() == nil {
		s := h.does[h.rng.IntN(len(h.does))]
		h.tried[s.name]++
		s.do(h, ctx)
		pause(ctx, time.Duration(h.rng.Int64N(int64(200*time.Millisecond))))
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (h *hostile) path() string {
	return "/parties/" + namespace + "/" + h.rooms[h.rng.IntN(len(h.rooms))]
}

// with connects, and hangs up when do has returned or ctx ends.
func (h *hostile) with(ctx context.Context, query string, do func(l *line)) {
	l, err := dial(h.address, h.path()+"?"+query, nil)
	if err != nil {
		return
	}
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	do(l)
}

// send writes frames as one burst, and then reads a while.
func (h *hostile) send(ctx context.Context, frames [][]byte) {
	h.with(ctx, "_pk="+h.name, func(l *line) {
		if _, err := l.Write(bytes.Join(frames, nil)); err == nil {
			l.drain(300*time.Millisecond, 64<<20)
		}
	})
}

func (h *hostile) many(n int, make func(i int) []byte) [][]byte {
	frames := [][]byte{}
	for i := range n {
		frames = append(frames, make(i))
	}
	return frames
}

func (h *hostile) syncs(ctx context.Context) {
	channel := []string{"scores", "notes"}[h.rng.IntN(2)]
	h.send(ctx, h.many(250, func(int) []byte {
		return text(`{"sync":true,"channel":%q,"cursor":"AAAAAAAAAAA.0"}`, channel)
	}))
}

func (h *hostile) action(i int, kind string, size int) []byte {
	return text(`{"id":"%s-%d","rpc":true,"channel":"notes","action":{"type":%q,"payload":{"id":"%s-%d","bytes":%d}}}`,
		h.name, i, kind, h.name, h.rng.IntN(50), size)
}

func (h *hostile) flood(ctx context.Context) {
	h.send(ctx, h.many(3000, func(i int) []byte { return h.action(i, "note", 100) }))
}

func (h *hostile) notes(ctx context.Context) {
	h.send(ctx, h.many(30, func(i int) []byte { return h.action(i, "note", 32<<10) }))
}

func (h *hostile) panics(ctx context.Context) {
	h.send(ctx, h.many(20, func(i int) []byte { return h.action(i, "panic", 0) }))
}

func (h *hostile) later(ctx context.Context) {
	h.send(ctx, h.many(200, func(i int) []byte { return h.action(i, "later", 100) }))
}

// deaf asks for everything, has everybody told something large, and reads nothing.
func (h *hostile) deaf(ctx context.Context) {
	h.with(ctx, "", func(l *line) {
		frames := h.many(20, func(int) []byte { return text(`{"sync":true,"channel":"notes","from":null}`) })
		frames = append(frames, h.many(50, func(i int) []byte { return h.action(i, "shout", 8<<10) })...)
		if _, err := l.Write(bytes.Join(frames, nil)); err == nil {
			pause(ctx, time.Second)
		}
	})
}

func (h *hostile) presence(ctx context.Context) {
	filler := strings.Repeat("p", h.rng.IntN(4000))
	h.send(ctx, h.many(1000, func(i int) []byte { return text(`{"presence":{"n":%d,"filler":%q}}`, i, filler) }))
}

func (h *hostile) endless(ctx context.Context) {
	h.with(ctx, "", func(l *line) {
		whole := text(`{"sync":true,"channel":"scores","from":null}`)
		if _, err := l.Write(whole[:1+h.rng.IntN(len(whole)-1)]); err == nil {
			pause(ctx, time.Second)
		}
	})
}

func (h *hostile) garbage(ctx context.Context) {
	h.with(ctx, "", func(l *line) {
		kinds := [][]byte{
			frame(final|opText, []byte("\xff\xfe{}"), 4), // no UTF-8
			frame(final|0x3, nil, 0),                     // an opcode that is none
			frame(final|0x40|opText, []byte("{}"), 2),    // a reserved bit
			frame(opPing, nil, 0),                        // a control frame in parts
			frame(final|opClose, []byte{1}, 1),           // half a code
			frame(final|opPing, make([]byte, 200), 200),  // a control frame that is too long
			{final | opText, 2, '{', '}'},                // not masked
			frame(final|opText, nil, 1<<62),              // a length of four exabytes
			text(`{"rpc":true}`), text(`[[[[`), text(`{"sync":1,"channel":{}}`), text(`"\ud83d\u0041"`),
			text(`%s`, strings.Repeat(`{"a":`, 10_000)),
		}
		if l.inPieces(kinds[h.rng.IntN(len(kinds))], h.rng) == nil {
			l.drain(300*time.Millisecond, 1<<20)
		}
	})
}

func (h *hostile) oversized(ctx context.Context) {
	h.with(ctx, "", func(l *line) {
		size := 1<<20 + h.rng.IntN(2<<20)
		data := append([]byte(`{"id":"large","rpc":true,"channel":"notes","filler":"`), bytes.Repeat([]byte("x"), size)...)
		if _, err := l.Write(frame(final|opText, data, len(data))); err == nil {
			l.drain(300*time.Millisecond, 1<<20)
		}
	})
}

// parked is quiet for so long that its socket is parked, and then sends parts of frames.
func (h *hostile) parked(ctx context.Context) {
	h.with(ctx, "", func(l *line) {
		frames := bytes.Join([][]byte{
			frame(final|opPong, []byte("none"), 4), text(`{"sync":true,"channel":"notes","from":null}`),
			frame(final|opPing, []byte("?"), 1), h.action(0, "shout", 8<<10),
		}, nil)
		for range 2 {
			pause(ctx, 1500*time.Millisecond)
			if l.inPieces(frames, h.rng) != nil {
				return
			}
			l.drain(100*time.Millisecond, 1<<20)
		}
	})
}

func (h *hostile) churn(ctx context.Context) {
	for i := 0; i < 30 && ctx.Err() == nil; i++ {
		h.with(ctx, fmt.Sprintf("_pk=%s.%d", h.name, i), func(l *line) {
			_, _ = l.Write(text(`{"sync":true,"channel":"scores","from":null}`)) // it hangs up in any case
		})
	}
}

func (h *hostile) twin(ctx context.Context) {
	h.with(ctx, fmt.Sprintf("_pk=honest%d", h.rng.IntN(50)), func(l *line) {
		if _, err := l.Write(text(`{"sync":true,"channel":"scores","from":null}`)); err == nil {
			l.drain(300*time.Millisecond, 1<<20)
		}
	})
}

func (h *hostile) thief(ctx context.Context) {
	h.send(ctx, h.many(5, func(i int) []byte {
		return text(`{"id":"t%d","rpc":true,"client":"thief%d","mutation":%d,"channel":"notes","action":{"type":"note","payload":{"id":"thief"}}}`,
			i, h.rng.IntN(20), h.rng.IntN(1000))
	}))
}

func (h *hostile) requests(ctx context.Context) {
	for i := 0; i < 20 && ctx.Err() == nil; i++ {
		h.get(ctx, fmt.Sprintf("/parties/%s/nobody-%s-%d/%s", namespace, h.name, h.rng.IntN(40), strings.Repeat("x", h.rng.IntN(200))), nil)
	}
}

func (h *hostile) foreign(ctx context.Context) {
	h.get(ctx, h.path(), http.Header{"Origin": {"https://evil.example"}, "Cookie": {"session=1"}})
	if l, err := dial(h.address, h.path(), http.Header{"Origin": {"https://evil.example"}}); err == nil {
		l.drain(300*time.Millisecond, 1<<20)
		l.Close()
	}
}

func (h *hostile) get(ctx context.Context, path string, header http.Header) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.address+path, nil)
	if err != nil {
		return
	}
	r.Header = header
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
}
