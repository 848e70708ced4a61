package syncproto_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/denrooms/den/syncproto"
)

// TestRefusedNumber has frames be refused whose action has a number. The refusal carries the number, with which the room
// uses it up, only where all stands that its answer has to name.
func TestRefusedNumber(t *testing.T) {
	const client, number, id, channel, rpc = `"client":"me"`, `"mutation":7`, `"id":"i"`, `"channel":"c"`, `"rpc":true`
	for _, c := range []struct {
		members []string
		want    uint64
	}{
		{[]string{rpc, id, channel, client, number}, 7},
		{[]string{rpc, id, client, number}, 0},
		{[]string{rpc, channel, client, number}, 0},
		{[]string{rpc, id, channel, number}, 0},
		{[]string{rpc, id, channel, client}, 0},
		{[]string{id, channel, client, number, `"sync":true,"from":true`}, 0},
		{[]string{rpc, `"id":""`, channel, client, number}, 0},
		{[]string{rpc, id, `"channel":7`, client, number}, 0},
		{[]string{rpc, id, channel, client, `"mutation":"7"`}, 0},
	} {
		frame := "{" + strings.Join(c.members, ",") + `,"action":7}`
		_, err := syncproto.Decode([]byte(frame), syncproto.DecodeOptions{})
		refused, is := errors.AsType[*syncproto.Error](err)
		if !is {
			t.Fatalf("%s: %v", frame, err)
		}
		if refused.Mutation != c.want || (refused.Client == "me") != (c.want != 0) {
			t.Errorf("%s: number %d of %q, want %d", frame, refused.Mutation, refused.Client, c.want)
		}
	}
}

// TestDecodeHexDigits writes a character with each hexadecimal digit in each place, and with what stands beside them in ASCII.
func TestDecodeHexDigits(t *testing.T) {
	for c := byte(' '); c < 0x7f; c++ {
		if c == '"' || c == '\\' {
			continue
		}
		for place := range 4 {
			digits := []byte("1234")
			digits[place] = c
			var want rune
			n, _ := fmt.Sscanf(string(digits), "%4x", &want)
			valid := n == 1 && strings.ContainsRune("0123456789abcdefABCDEF", rune(c))
			m, err := syncproto.Decode([]byte(`{"sync":true,"from":null,"channel":"\u`+string(digits)+`"}`), syncproto.DecodeOptions{})
			switch {
			case valid && (err != nil || m.Channel != string(want)):
				t.Errorf("%s is %q, %v, want %q", digits, m.Channel, err, string(want))
			case !valid && err == nil:
				t.Errorf("%s was accepted as %q", digits, m.Channel)
			}
		}
	}
}
