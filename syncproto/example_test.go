package syncproto_test

import (
	"errors"
	"fmt"

	"github.com/denrooms/den/syncproto"
)

func ExampleDecode() {
	frame := []byte(`{"id":"V1StGXR8","channel":"todos","rpc":true,"action":{"type":"create","payload":{"text":"milk"}}}`)
	m, err := syncproto.Decode(frame, syncproto.DecodeOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.Kind, m.Channel, m.ID, m.ActionType, string(m.Payload))
	// Output: action todos V1StGXR8 create {"text":"milk"}
}

func ExampleError_AppendFrame() {
	_, err := syncproto.Decode([]byte(`{"id":"V1StGXR8","channel":"todos","rpc":true,"action":7}`), syncproto.DecodeOptions{})
	var refused *syncproto.Error
	if errors.As(err, &refused) {
		fmt.Printf("%s\n", refused.AppendFrame(nil))
	}
	// Output: {"type":"error","rpc":true,"channel":"todos","id":"V1StGXR8","error":["field \"action\" must be an object at byte 55"],"code":"bad_message"}
}

// Rows are written into a frame one by one. A page ends when it is full.
func ExampleAppendSyncStart() {
	rows := [][]any{
		{"t1", "milk", int64(0), int64(1), int64(1), nil},
		{"t2", "bread", int64(1), int64(2), int64(3), nil},
		{"t3", "salt", int64(0), int64(4), int64(4), nil},
	}
	const pageBytes = 40 // DefaultPageBytes, in earnest
	b := syncproto.AppendSyncStart(nil, "todos")
	empty := len(b)
	for _, row := range rows {
		if len(b) > empty+pageBytes {
			fmt.Printf("%s\n", syncproto.AppendSyncMore(b, ""))
			b = syncproto.AppendSyncStart(b[:0], "todos")
		}
		b = syncproto.AppendSeparator(b)
		b = syncproto.AppendRow(b, row)
	}
	fmt.Printf("%s\n", syncproto.AppendSyncEnd(b, ""))
	// Output:
	// {"sync":true,"channel":"todos","payload":[["t1","milk",0,1,1,null],["t2","bread",1,2,3,null]],"more":true}
	// {"sync":true,"channel":"todos","payload":[["t3","salt",0,4,4,null]]}
}
