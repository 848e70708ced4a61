package main

import (
	"encoding/json"
	"errors"
	"fmt"
)

// channel is that of the todo fixture, columns is how many its rows have.
const (
	channel = "todos"
	columns = 6
)

// A frame is any message of the server.
type frame struct {
	Type      string            `json:"type"`
	Channel   string            `json:"channel"`
	ID        string            `json:"id"`
	Code      string            `json:"code"`
	Cursor    string            `json:"cursor"`
	Sync      bool              `json:"sync"`
	More      bool              `json:"more"`
	Broadcast bool              `json:"broadcast"`
	Payload   []json.RawMessage `json:"payload"`
	Result    []json.RawMessage `json:"result"`
	Error     json.RawMessage   `json:"error"`
}

// kind is what a frame is for.
type kind int

const (
	isSync kind = iota
	isSuccess
	isRefusal     // of an action
	isException   // of a sync
	isRoomsError  // of the whole connection
	isUpdate      // rows that others changed
	isChannelGone // delete-all
)

// readFrame reads a message and checks that it is one that the protocol has. It fails on anything else.
func readFrame(data []byte) (frame, kind, error) {
	var f frame
	if err := json.Unmarshal(data, &f); err != nil {
		return f, 0, fmt.Errorf("no message: %w", err)
	}
	k, err := f.kind()
	if err != nil {
		return f, 0, err
	}
	for _, raw := range append(f.Payload, f.Result...) {
		if err := checkRow(raw); err != nil {
			return f, 0, err
		}
	}
	return f, k, nil
}

func (f *frame) kind() (kind, error) {
	if len(f.Error) > 0 && f.Error[0] == '{' {
		var e struct {
			Code string `json:"code"`
		}
		if err := json.Unmarshal(f.Error, &e); err != nil || e.Code == "" {
			return 0, errors.New("a room's error without a code")
		}
		f.Code = e.Code
		return isRoomsError, nil
	}
	coded := f.Type == "error" || f.Type == "exception"
	switch {
	case coded && f.Code == "":
		return 0, errors.New("a refusal without a code")
	case f.Type == "exception":
		return isException, nil
	case f.Channel != channel:
		return 0, fmt.Errorf("a frame of the channel %q", f.Channel)
	case f.Type == "error":
		return isRefusal, nil
	case f.Type == "success":
		return isSuccess, nil
	case f.Sync:
		return isSync, nil
	case f.Broadcast && f.Type == "update":
		return isUpdate, nil
	case f.Broadcast && f.Type == "delete-all":
		return isChannelGone, nil
	}
	return 0, errors.New("a frame of no known kind")
}

func (f *frame) rows() int { return len(f.Payload) + len(f.Result) }

func checkRow(raw json.RawMessage) error {
	var cells []json.RawMessage
	if err := json.Unmarshal(raw, &cells); err != nil {
		return fmt.Errorf("a row that is no array: %.100s", raw)
	}
	if len(cells) != columns || cells[0][0] != '"' {
		return fmt.Errorf("a row that is no todo: %.100s", raw)
	}
	return nil
}
