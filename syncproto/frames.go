package syncproto

// DefaultPageBytes is the size, in bytes of encoded rows, at which a sync or update
// frame should end and the next one begin. A row is never split, so a frame can be
// longer by one row.
const DefaultPageBytes = 256 << 10

// A frame with rows is written in three steps: …Start, then each row after an
// AppendSeparator, then …End:
//
//	b = AppendSyncStart(b, "todos")
//	for each row {
//		b = AppendSeparator(b)
//		b = AppendRow(b, row)
//	}
//	b = AppendSyncEnd(b, cursor)
//
// Rows that were encoded separately (AppendSeparator and AppendRow on an empty
// slice) can be copied between a Start and an End. AppendSuccess and AppendUpdate
// take such rows.

// AppendSyncStart begins an answer to sync.
func AppendSyncStart(dst []byte, channel string) []byte {
	dst = append(dst, `{"sync":true,"channel":`...)
	dst = AppendString(dst, channel)
	return append(dst, `,"payload":[`...)
}

// The cursor of a frame is the text of a [Cursor]: what a client has after it has applied
// this frame and those before it. It is copied as it is, and empty for a frame without one.

func appendEnd(dst []byte, cursor string) []byte {
	return append(appendPlace(dst, `,"cursor":"`, cursor), '}')
}

func appendPlace(dst []byte, name, cursor string) []byte {
	if cursor == "" {
		return dst
	}
	dst = append(dst, name...)
	dst = append(dst, cursor...)
	return append(dst, '"')
}

// AppendSyncReset appends the first frame of an answer to sync that replaces what the
// client has of the channel.
func AppendSyncReset(dst []byte, channel string, why Reset) []byte {
	dst = AppendSyncStart(dst, channel)
	dst = append(dst, `],"reset":"`...)
	dst = append(dst, why...)
	return append(dst, `","more":true}`...)
}

// AppendSyncEnd ends the last, or only, page of an answer to sync.
func AppendSyncEnd(dst []byte, cursor string) []byte { return appendEnd(append(dst, ']'), cursor) }

// AppendSyncMore ends a page of an answer to sync that is not the last. at is the cursor
// of the commit after which its rows were read, or empty.
func AppendSyncMore(dst []byte, at string) []byte {
	dst = append(dst, `],"more":true`...)
	return append(appendPlace(dst, `,"at":"`, at), '}')
}

// AppendUpdateStart begins a broadcast of changed rows and tombstones.
func AppendUpdateStart(dst []byte, channel string) []byte {
	dst = append(dst, `{"broadcast":true,"type":"update","channel":`...)
	dst = AppendString(dst, channel)
	return append(dst, `,"payload":[`...)
}

// AppendUpdateEnd ends a broadcast of changed rows.
func AppendUpdateEnd(dst []byte, cursor string) []byte { return appendEnd(append(dst, ']'), cursor) }

// AppendUpdate appends a complete broadcast of changed rows. rows are already encoded,
// with commas between them and without the outer brackets.
func AppendUpdate(dst []byte, channel string, rows []byte, cursor string) []byte {
	dst = AppendUpdateStart(dst, channel)
	dst = append(dst, rows...)
	return AppendUpdateEnd(dst, cursor)
}

// AppendDeleteAll appends the broadcast that empties a channel.
func AppendDeleteAll(dst []byte, channel, cursor string) []byte {
	dst = append(dst, `{"broadcast":true,"type":"delete-all","channel":`...)
	return appendEnd(AppendString(dst, channel), cursor)
}

// AppendException appends the answer to a frame that has no id to be answered under.
func AppendException(dst []byte, code Code, message string) []byte {
	dst = appendExceptionStart(dst, code, message)
	return append(dst, '}')
}

// AppendChannelException appends the answer to a refused sync: a frame without an id
// whose channel is known.
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

// AppendRoomError appends the frame that says why the connection as a whole is
// refused. A close follows it. It is also the body of HTTP errors.
func AppendRoomError(dst []byte, code Code, message string) []byte {
	dst = append(dst, `{"error":{"code":`...)
	dst = AppendString(dst, string(code))
	dst = append(dst, `,"message":`...)
	dst = AppendString(dst, message)
	return append(dst, `}}`...)
}
