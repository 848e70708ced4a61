package syncproto_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/denrooms/den/syncproto"
)

// TestDecodeSurrogates writes a name with escapes of every kind before, after and in place of the halves of a surrogate
// pair. Two halves in their order are a character; a half by itself is no text, whatever stands next to it.
func TestDecodeSurrogates(t *testing.T) {
	for _, high := range []string{`\ud800`, `\ud83d`, `\udbff`} {
		for _, low := range []string{`\udc00`, `\ude00`, `\udfff`} {
			for _, around := range []string{"%s", "a%s", "%sa", `\u0041%s`, `%s\u0041`, `\n%s\n`, `\ud83d\ude00%s\ud83d\ude00`} {
				name := fmt.Sprintf(around, high+low)
				var want string
				if err := json.Unmarshal([]byte(`"`+name+`"`), &want); err != nil {
					t.Fatal(err)
				}
				m, err := syncproto.Decode([]byte(`{"sync":true,"from":null,"channel":"`+name+`"}`), syncproto.DecodeOptions{})
				if err != nil || m.Channel != want {
					t.Errorf("%s: the channel is %q, %v, want %q", name, m.Channel, err, want)
				}
				for _, half := range []string{high, low, high + high, low + low, low + high, high + "u" + low[2:], high + `\\` + low[1:]} {
					for _, field := range []string{
						`{"sync":true,"from":null,"channel":"%s"}`, `{"sync":true,"channel":"c","from":"%s"}`,
						`{"id":"%s","channel":"c","rpc":true,"action":{"type":"t"}}`, `{"id":"i","channel":"c","rpc":true,"action":{"type":"%s"}}`,
						`{"id":"i","channel":"c","rpc":true,"client":"%s","mutation":1,"action":{"type":"t"}}`,
					} {
						frame := fmt.Sprintf(field, fmt.Sprintf(around, half))
						if m, err := syncproto.Decode([]byte(frame), syncproto.DecodeOptions{}); err == nil {
							t.Errorf("%s was accepted as %+v", frame, m)
						}
					}
				}
			}
		}
	}
}

// TestDecodeSurrogateNames has names of fields that are written with half of a surrogate pair: they are no field's.
func TestDecodeSurrogateNames(t *testing.T) {
	for _, name := range []string{`sync\ud83d`, `\ud83dsync`, `sync\ud83d\u0041`, `\udc00sync`} {
		m, err := syncproto.Decode([]byte(`{"`+name+`":true,"channel":"c","from":null}`), syncproto.DecodeOptions{})
		if err != nil || m.Kind != syncproto.KindOther {
			t.Errorf("%s: %v, %v", name, m.Kind, err)
		}
	}
}
