package syncproto

import "encoding/json"

// DefaultPageBytes is the size at which a sync or update frame should end and
// the next one begin, in bytes of encoded rows. A row is never split, so a
// frame can be longer by one row.
const DefaultPageBytes = 256 << 10

// Frames that hold rows are written in three steps: …Start, then rows, each
// with AppendSeparator before it, then …End:
//
//	b = AppendSyncStart(b, "todos")
//	for each row {
//		b = AppendSeparator(b)
//		b = AppendRow(b, row)
//	}
//	b = AppendSyncEnd(b)
//
// Rows that were encoded alone (AppendSeparator and AppendRow on an empty
// slice) can be copied between a Start and an End, and are what AppendSuccess
// and AppendUpdate take.

// AppendSyncStart begins an answer to sync.
func AppendSyncStart(dst []byte, channel string) []byte {
	dst = append(dst, `{"sync":true,"channel":`...)
	dst = AppendString(dst, channel)
	return append(dst, `,"payload":[`...)
}

// AppendSyncEnd ends the last, or only, page of an answer to sync.
func AppendSyncEnd(dst []byte) []byte { return append(dst, `]}`...) }

// AppendSyncMore ends a page of an answer to sync that others follow.
func AppendSyncMore(dst []byte) []byte { return append(dst, `],"more":true}`...) }

// AppendUpdateStart begins a broadcast of changed rows and tombstones.
func AppendUpdateStart(dst []byte, channel string) []byte {
	dst = append(dst, `{"broadcast":true,"type":"update","channel":`...)
	dst = AppendString(dst, channel)
	return append(dst, `,"payload":[`...)
}

// AppendUpdateEnd ends a broadcast of changed rows.
func AppendUpdateEnd(dst []byte) []byte { return append(dst, `]}`...) }

// AppendUpdate appends a whole broadcast of already encoded rows: rows and
// commas between them, without the outer brackets.
func AppendUpdate(dst []byte, channel string, rows []byte) []byte {
	dst = AppendUpdateStart(dst, channel)
	dst = append(dst, rows...)
	return AppendUpdateEnd(dst)
}

// AppendDeleteAll appends the broadcast that empties a channel.
func AppendDeleteAll(dst []byte, channel string) []byte {
	dst = append(dst, `{"broadcast":true,"type":"delete-all","channel":`...)
	dst = AppendString(dst, channel)
	return append(dst, '}')
}

// AppendSuccess appends the reply to an action that was applied. rows are its
// changed rows, encoded, with commas between them and without the outer
// brackets; empty when it changed none. value is what the room's code gave to
// the caller, encoded; nil for none. Both are copied as they are: it is the
// caller's business that they are JSON.
func AppendSuccess(dst []byte, channel, id string, rows []byte, value json.RawMessage) []byte {
	dst = appendReplyStart(dst, "success", channel, id)
	dst = append(dst, `,"result":[`...)
	dst = append(dst, rows...)
	dst = append(dst, ']')
	if value != nil {
		dst = append(dst, `,"value":`...)
		dst = append(dst, value...)
	}
	return append(dst, '}')
}

// AppendError appends the reply to an action that was refused or failed.
func AppendError(dst []byte, channel, id string, code Code, message string) []byte {
	dst = appendReplyStart(dst, "error", channel, id)
	dst = append(dst, `,"error":[`...)
	dst = AppendString(dst, message)
	dst = append(dst, `],"code":`...)
	dst = AppendString(dst, string(code))
	return append(dst, '}')
}

func appendReplyStart(dst []byte, kind, channel, id string) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, kind...)
	dst = append(dst, `","rpc":true,"channel":`...)
	dst = AppendString(dst, channel)
	dst = append(dst, `,"id":`...)
	return AppendString(dst, id)
}

// AppendException appends the answer to a frame that has no id and channel to
// answer under.
func AppendException(dst []byte, code Code, message string) []byte {
	dst = appendExceptionStart(dst, code, message)
	return append(dst, '}')
}

// AppendChannelException appends the answer to a frame without an id whose
// channel is known: a sync that was refused.
func AppendChannelException(dst []byte, channel string, code Code, message string) []byte {
	dst = appendExceptionStart(dst, code, message)
	dst = append(dst, `,"channel":`...)
	dst = AppendString(dst, channel)
	return append(dst, '}')
}

func appendExceptionStart(dst []byte, code Code, message string) []byte {
	dst = append(dst, `{"type":"exception","rpc":true,"exception":[`...)
	dst = AppendString(dst, message)
	dst = append(dst, `],"code":`...)
	return AppendString(dst, string(code))
}

// AppendRoomError appends the frame that tells why the connection as a whole
// is refused; a close follows it. It is the body of HTTP errors, too.
func AppendRoomError(dst []byte, code Code, message string) []byte {
	dst = append(dst, `{"error":{"code":`...)
	dst = AppendString(dst, string(code))
	dst = append(dst, `,"message":`...)
	dst = AppendString(dst, message)
	return append(dst, `}}`...)
}
