package syncproto_test

import (
	"encoding/json"
	"testing"

	"github.com/denrooms/den/syncproto"
)

// todo is a row of about 100 bytes, as the todo room has it.
func todo() []any {
	return []any{"0193a1c2-7b1e-7cc3-9d3a-5f0e8b7a6c51", "buy milk and bread", int64(0), int64(1763690400000), int64(1763690400123), nil}
}

func BenchmarkAppendRow(b *testing.B) {
	row := todo()
	buf := syncproto.AppendRow(nil, row)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf = syncproto.AppendRow(buf[:0], row)
	}
}

// BenchmarkMarshalRow is what AppendRow is to be better than.
func BenchmarkMarshalRow(b *testing.B) {
	row := todo()
	b.SetBytes(int64(len(syncproto.AppendRow(nil, row))))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := json.Marshal(row); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendStringUnicode(b *testing.B) {
	const text = "Grüße aus Köln, ¿qué tal? 😀 «все хорошо»"
	var buf []byte
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		buf = syncproto.AppendString(buf[:0], text)
	}
}

func BenchmarkAppendSyncOf10000(b *testing.B) {
	row := todo()
	frame := func(buf []byte) []byte {
		buf = syncproto.AppendSyncStart(buf, "todos")
		for range 10_000 {
			buf = syncproto.AppendRow(syncproto.AppendSeparator(buf), row)
		}
		return syncproto.AppendSyncEnd(buf, "")
	}
	buf := frame(nil)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf = frame(buf[:0])
	}
}

const actionFrame = `{"id":"V1StGXR8","channel":"todos","rpc":true,"action":{"type":"create",` +
	`"payload":{"id":"0193a1c2-7b1e-7cc3-9d3a-5f0e8b7a6c51","text":"buy milk and bread","completed":0}}}`

func BenchmarkDecodeAction(b *testing.B) {
	frame := []byte(actionFrame)
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := syncproto.Decode(frame, syncproto.DecodeOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkUnmarshalAction is what Decode is to be better than.
func BenchmarkUnmarshalAction(b *testing.B) {
	frame := []byte(actionFrame)
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		var m struct {
			ID, Channel string
			RPC, Sync   bool
			Action      struct {
				Type    string
				Payload json.RawMessage
			}
		}
		if err := json.Unmarshal(frame, &m); err != nil {
			b.Fatal(err)
		}
	}
}
