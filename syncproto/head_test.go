package syncproto

import (
	"strings"
	"testing"
)

// What the beginning of a message shows is read, and nothing that it only seems to show.
func TestDecodeHead(t *testing.T) {
	const action = `"action":{"type":"a","payload":{"id":"inner","text":"`
	tests := map[string]struct {
		head string
		want Message
	}{
		"whole":           {`{"rpc":true,"id":"1","channel":"c","client":"me","mutation":7,` + action, Message{Kind: KindAction, ID: "1", Channel: "c", Client: "me", Mutation: 7}},
		"stock":           {`{"id":"1","channel":"c","rpc":true,` + action, Message{Kind: KindAction, ID: "1", Channel: "c"}},
		"action first":    {`{` + action, Message{}},
		"cut name":        {`{"rpc":true,"channel":"c","id":"12`, Message{Kind: KindAction, Channel: "c"}},
		"cut number":      {`{"rpc":true,"id":"1","channel":"c","client":"me","mutation":7`, Message{Kind: KindAction, ID: "1", Channel: "c"}},
		"number alone":    {`{"rpc":true,"id":"1","channel":"c","mutation":7,` + action, Message{Kind: KindAction, ID: "1", Channel: "c"}},
		"long id":         {`{"rpc":true,"id":"` + strings.Repeat("x", 129) + `","channel":"c",`, Message{Kind: KindAction, Channel: "c"}},
		"sync":            {`{"sync":true,"channel":"c","pad":"`, Message{Kind: KindSync, Channel: "c"}},
		"both":            {`{"sync":true,"rpc":true,"channel":"c","pad":"`, Message{Channel: "c"}},
		"cut character":   {"{\"rpc\":true,\"id\":\"1\",\"channel\":\"c\",\"x\":\"\xe2\x82", Message{Kind: KindAction, ID: "1", Channel: "c"}},
		"no JSON":         {`hello`, Message{}},
		"nothing":         {``, Message{}},
		"in a bomb":       {`{"rpc":true,"id":"1","channel":"c","x":` + strings.Repeat("[", 4000), Message{Kind: KindAction, ID: "1", Channel: "c"}},
		"not its own, in": {`{"rpc":true,"x":{"id":"1","channel":"c"},"y":"`, Message{Kind: KindAction}},
	}
	for name, tt := range tests {
		got := DecodeHead([]byte(tt.head))
		if got.Kind != tt.want.Kind || got.ID != tt.want.ID || got.Channel != tt.want.Channel || got.Client != tt.want.Client || got.Mutation != tt.want.Mutation {
			t.Errorf("%s: got %+v, want %+v", name, got, tt.want)
		}
	}
}
