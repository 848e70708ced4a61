package main

import "testing"

const goodRow = `["t1","milk",0,1763690400000,1763690400123,null]`

func TestReadFrame(t *testing.T) {
	for text, want := range map[string]kind{
		`{"sync":true,"channel":"todos","payload":[` + goodRow + `],"more":true}`:                                         isSync,
		`{"sync":true,"channel":"todos","payload":[],"cursor":"n4bQgYhMfWU.1z"}`:                                          isSync,
		`{"type":"success","rpc":true,"channel":"todos","id":"1","result":[` + goodRow + `]}`:                             isSuccess,
		`{"type":"error","rpc":true,"channel":"todos","id":"1","error":["Try again."],"code":"overloaded"}`:               isRefusal,
		`{"type":"exception","rpc":true,"exception":["Try again."],"code":"overloaded","channel":"todos"}`:                isException,
		`{"error":{"code":"room_unavailable","message":"Try again."}}`:                                                    isRoomsError,
		`{"broadcast":true,"type":"update","channel":"todos","payload":[["t2",null,null,null,1763690400200,1763690400]]}`: isUpdate,
		`{"broadcast":true,"type":"delete-all","channel":"todos"}`:                                                        isChannelGone,
	} {
		if _, got, err := readFrame([]byte(text)); err != nil || got != want {
			t.Errorf("%s is of kind %d (%v), want %d", text, got, err, want)
		}
	}
}

func TestReadFrameRefuses(t *testing.T) {
	for _, text := range []string{
		`hello`, `{}`, `[]`, `{"sync":true}`, `{"sync":true,"channel":"others","payload":[]}`,
		`{"sync":true,"channel":"todos","payload":["t1"]}`,
		`{"sync":true,"channel":"todos","payload":[{"id":"t1"}]}`,
		`{"sync":true,"channel":"todos","payload":[["t1","milk"]]}`,
		`{"sync":true,"channel":"todos","payload":[[1,"milk",0,1,1,null]]}`,
		`{"type":"success","rpc":true,"channel":"todos","id":"1","result":[null]}`,
		`{"type":"error","rpc":true,"channel":"todos","id":"1","error":["No."]}`,
		`{"type":"exception","rpc":true,"exception":["No."]}`,
		`{"error":{"message":"No."}}`,
	} {
		if f, kind, err := readFrame([]byte(text)); err == nil {
			t.Errorf("%s is taken for %+v of kind %d", text, f, kind)
		}
	}
}
