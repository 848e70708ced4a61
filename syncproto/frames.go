package syncproto

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
//	b = AppendSyncEnd(b, cursor)
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

// The cursor of a frame is a [Cursor]'s text: what a client has when it has applied the
// frame and those before it. It is copied as it is; empty for a frame that has none.

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

// AppendSyncReset appends the frame in front of an answer to sync that is to replace
// what the client has of the channel.
func AppendSyncReset(dst []byte, channel string, why Reset) []byte {
	dst = AppendSyncStart(dst, channel)
	dst = append(dst, `],"reset":"`...)
	dst = append(dst, why...)
	return append(dst, `","more":true}`...)
}

// AppendSyncEnd ends the last, or only, page of an answer to sync.
func AppendSyncEnd(dst []byte, cursor string) []byte { return appendEnd(append(dst, ']'), cursor) }

// AppendSyncMore ends a page of an answer to sync that others follow. at is the cursor
// of the commit after which its rows were read; empty for none.
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

// AppendUpdate appends a whole broadcast of already encoded rows: rows and
// commas between them, without the outer brackets.
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
