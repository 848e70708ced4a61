package syncproto_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/denrooms/den/syncproto"
)

// vector is a file of testdata/vectors; PROTOCOL.md describes the form.
type vector struct {
	About     string `json:"about"`
	Direction string `json:"direction"`

	Frame       string  `json:"frame"`
	FrameBase64 string  `json:"frame_base64"`
	Repeat      *repeat `json:"repeat"`

	Read    *wantRead    `json:"read"`
	Refused *wantRefused `json:"refused"`
	Write   *write       `json:"write"`
}

// repeat describes a frame that is too long to write down.
type repeat struct {
	Before    string `json:"before"`
	Unit      string `json:"unit"`
	Times     int    `json:"times"`
	Middle    string `json:"middle"`
	UnitAfter string `json:"unit_after"`
	After     string `json:"after"`
}

type wantRead struct {
	Kind     string          `json:"kind"`
	Channel  string          `json:"channel"`
	FromKind string          `json:"from_kind"`
	From     json.RawMessage `json:"from"`
	Since    string          `json:"since"`
	Cursor   string          `json:"cursor"`
	ID       string          `json:"id"`
	Client   string          `json:"client"`
	Mutation uint64          `json:"mutation"`
	Type     string          `json:"type"`
	Payload  *string         `json:"payload"`
	Action   string          `json:"action"`
	Presence *string         `json:"presence"`
}

type wantRefused struct {
	Code    syncproto.Code `json:"code"`
	Message string         `json:"message"`
	Offset  int            `json:"offset"`
	Answer  string         `json:"answer"`
}

type write struct {
	Message string              `json:"message"`
	Channel string              `json:"channel"`
	ID      string              `json:"id"`
	Rows    [][]json.RawMessage `json:"rows"`
	More    bool                `json:"more"`
	Value   *string             `json:"value"`
	Code    syncproto.Code      `json:"code"`
	Text    string              `json:"text"`
	Cursor  string              `json:"cursor"`
	At      string              `json:"at"`
	Reset   syncproto.Reset     `json:"reset"`
	Number  syncproto.Number    `json:"number"`
	Resync  bool                `json:"resync"`
	Next    uint64              `json:"next"`
	Now     int64               `json:"now"`
	Self    uint64              `json:"self"`
	Peers   []writePeer         `json:"peers"`
}

// writePeer is a peer in a frame of presence; one without data has gone.
type writePeer struct {
	Peer uint64  `json:"peer"`
	ID   string  `json:"id"`
	Data *string `json:"data"`
}

func (v *vector) frame(t testing.TB) []byte {
	t.Helper()
	switch {
	case v.FrameBase64 != "":
		data, err := base64.StdEncoding.DecodeString(v.FrameBase64)
		if err != nil {
			t.Fatal(err)
		}
		return data
	case v.Repeat != nil:
		r := v.Repeat
		return []byte(r.Before + strings.Repeat(r.Unit, r.Times) + r.Middle + strings.Repeat(r.UnitAfter, r.Times) + r.After)
	}
	return []byte(v.Frame)
}

func readVectors(t testing.TB) map[string]*vector {
	t.Helper()
	names, err := filepath.Glob("testdata/vectors/*.json")
	if err != nil || len(names) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	all := map[string]*vector{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields()
		v := new(vector)
		if err := d.Decode(v); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[strings.TrimSuffix(filepath.Base(name), ".json")] = v
	}
	return all
}

func TestVectors(t *testing.T) {
	for name, v := range readVectors(t) {
		t.Run(name, func(t *testing.T) {
			switch {
			case v.Direction == "client" && v.Read != nil && v.Refused == nil && v.Write == nil:
				checkRead(t, v.frame(t), v.Read)
			case v.Direction == "client" && v.Refused != nil && v.Read == nil && v.Write == nil:
				checkRefused(t, v.frame(t), v.Refused)
			case v.Direction == "server" && v.Write != nil && v.Read == nil && v.Refused == nil:
				if got := v.Write.frame(t); string(got) != v.Frame {
					t.Errorf("wrote %s\nwant  %s", got, v.Frame)
				}
				if !json.Valid([]byte(v.Frame)) {
					t.Error("the vector's frame is not JSON")
				}
			default:
				t.Errorf("direction %q needs one of read, refused (client) or write (server)", v.Direction)
			}
		})
	}
}

func checkRead(t *testing.T, frame []byte, want *wantRead) {
	t.Helper()
	got, err := syncproto.Decode(frame, syncproto.DecodeOptions{})
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	if got.Kind.String() != want.Kind || got.Channel != want.Channel || got.ID != want.ID || got.ActionType != want.Type || string(got.Action) != want.Action {
		t.Errorf("read %+v\nwant %+v", got, *want)
	}
	if (got.Payload == nil) != (want.Payload == nil) || want.Payload != nil && string(got.Payload) != *want.Payload {
		t.Errorf("payload %s, want %v", got.Payload, want.Payload)
	}
	if (got.Presence == nil) != (want.Presence == nil) || want.Presence != nil && string(got.Presence) != *want.Presence {
		t.Errorf("presence %s, want %v", got.Presence, want.Presence)
	}
	if got.Client != want.Client || got.Mutation != want.Mutation {
		t.Errorf("numbered %q %d, want %q %d", got.Client, got.Mutation, want.Client, want.Mutation)
	}
	since := map[string]syncproto.SinceKind{"": syncproto.SinceFrom, "start": syncproto.SinceStart, "cursor": syncproto.SinceCursor}
	if wantSince, known := since[want.Since]; !known || got.Since != wantSince || got.Since == syncproto.SinceCursor && got.Cursor.String() != want.Cursor {
		t.Errorf("since %v %v, want %q %q", got.Since, got.Cursor, want.Since, want.Cursor)
	}
	kinds := map[string]syncproto.FromKind{"": 0, "none": syncproto.FromNone, "int": syncproto.FromInt, "float": syncproto.FromFloat, "text": syncproto.FromText}
	wantKind, known := kinds[want.FromKind]
	if !known || got.From.Kind != wantKind {
		t.Fatalf("from %+v, want kind %q", got.From, want.FromKind)
	}
	if want.From != nil {
		gotJSON, err := json.Marshal(got.From.Value())
		var a, b any
		if err != nil || json.Unmarshal(gotJSON, &a) != nil || json.Unmarshal(want.From, &b) != nil || a != b {
			t.Errorf("from %s, want %s", gotJSON, want.From)
		}
	}
}

func checkRefused(t *testing.T, frame []byte, want *wantRefused) {
	t.Helper()
	got, err := syncproto.Decode(frame, syncproto.DecodeOptions{})
	var refused *syncproto.Error
	if !errors.As(err, &refused) {
		t.Fatalf("accepted as %+v (%v)", got, err)
	}
	if refused.Code != want.Code || refused.Message != want.Message || refused.Offset != want.Offset {
		t.Errorf("refused with %s %q at %d\nwant %s %q at %d", refused.Code, refused.Message, refused.Offset, want.Code, want.Message, want.Offset)
	}
	if answer := refused.AppendFrame(nil); string(answer) != want.Answer {
		t.Errorf("answer %s\nwant   %s", answer, want.Answer)
	}
}

// frame writes the message that w describes, with the functions of this package.
func (w *write) frame(t *testing.T) []byte {
	t.Helper()
	var rows []byte
	for _, row := range w.Rows {
		rows = syncproto.AppendRow(syncproto.AppendSeparator(rows), rowValues(t, row))
	}
	switch w.Message {
	case "sync":
		b := append(syncproto.AppendSyncStart(nil, w.Channel), rows...)
		if w.More {
			return syncproto.AppendSyncMore(b, w.At)
		}
		return syncproto.AppendSyncEnd(b, w.Cursor)
	case "sync-reset":
		return syncproto.AppendSyncReset(nil, w.Channel, w.Reset)
	case "update":
		return syncproto.AppendUpdate(nil, w.Channel, rows, w.Cursor)
	case "delete-all":
		return syncproto.AppendDeleteAll(nil, w.Channel, w.Cursor)
	case "success":
		var value json.RawMessage
		if w.Value != nil {
			value = json.RawMessage(*w.Value)
		}
		return syncproto.AppendReply(nil, syncproto.Reply{
			Channel: w.Channel, ID: w.ID, Number: w.Number, Rows: rows, Value: value, Resync: w.Resync, Cursor: w.Cursor,
		})
	case "error":
		return syncproto.AppendReply(nil, syncproto.Reply{
			Channel: w.Channel, ID: w.ID, Number: w.Number, Code: w.Code, Message: w.Text, Next: w.Next, Now: w.Now,
		})
	case "exception":
		if w.Channel != "" {
			return syncproto.AppendChannelException(nil, w.Channel, w.Code, w.Text)
		}
		return syncproto.AppendException(nil, w.Code, w.Text)
	case "room-error":
		return syncproto.AppendRoomError(nil, w.Code, w.Text)
	case "presence-full":
		return w.appendPeers(syncproto.AppendPresenceFullStart(nil, w.Self))
	case "presence":
		return w.appendPeers(syncproto.AppendPresenceStart(nil))
	}
	t.Fatalf("unknown message %q", w.Message)
	return nil
}

func (w *write) appendPeers(dst []byte) []byte {
	for _, p := range w.Peers {
		dst = syncproto.AppendSeparator(dst)
		if p.Data == nil {
			dst = syncproto.AppendPeerGone(dst, p.Peer)
		} else {
			dst = syncproto.AppendPeer(dst, p.Peer, p.ID, json.RawMessage(*p.Data))
		}
	}
	return syncproto.AppendPresenceEnd(dst)
}

// rowValues reads a vector's row: null, a string, or {"int"|"float"|"blob": text}.
func rowValues(t *testing.T, row []json.RawMessage) []any {
	t.Helper()
	values := make([]any, len(row))
	for i, cell := range row {
		var typed struct{ Int, Float, Blob *string }
		var err error
		switch {
		case cell[0] != '{':
			err = json.Unmarshal(cell, &values[i])
		case json.Unmarshal(cell, &typed) != nil:
			t.Fatalf("cell %s", cell)
		case typed.Int != nil:
			values[i], err = strconv.ParseInt(*typed.Int, 10, 64)
		case typed.Float != nil:
			values[i], err = strconv.ParseFloat(*typed.Float, 64)
		case typed.Blob != nil:
			values[i], err = base64.StdEncoding.DecodeString(*typed.Blob)
		}
		if err != nil {
			t.Fatalf("cell %s: %v", cell, err)
		}
	}
	return values
}

// Every message that can be written, and every kind that can be read, has a vector.
func TestVectorsAreComplete(t *testing.T) {
	missing := map[string]bool{
		"write sync": true, "write update": true, "write delete-all": true, "write success": true,
		"write sync-reset": true, "write error": true, "write exception": true, "write room-error": true,
		"write presence": true, "write presence-full": true, "read presence": true,
		"read sync": true, "read action": true, "read other": true,
		"refused bad_message": true, "refused too_large": true,
	}
	for _, v := range readVectors(t) {
		switch {
		case v.Write != nil:
			delete(missing, "write "+v.Write.Message)
		case v.Read != nil:
			delete(missing, "read "+v.Read.Kind)
		case v.Refused != nil:
			delete(missing, "refused "+string(v.Refused.Code))
		}
	}
	for what := range missing {
		t.Errorf("no vector for %s", what)
	}
}
