package syncproto

import "net/http"

// A Code tells a program why a request was refused. It is sent in error,
// exception and room-error frames and in the body of HTTP errors. The connection
// stays open, except after a room-error frame. PROTOCOL.md has the table.
type Code string

// The codes of refused requests.
const (
	// CodeBadMessage: the frame is not JSON, not in the form of its kind, or of no
	// kind that this room accepts.
	CodeBadMessage Code = "bad_message"
	// CodeUnsupportedData: a binary message, which this room does not accept.
	CodeUnsupportedData Code = "unsupported_data"
	// CodeUnknownChannel: the room has no such channel.
	CodeUnknownChannel Code = "unknown_channel"
	// CodeUnknownAction: the channel has no action of that type.
	CodeUnknownAction Code = "unknown_action"
	// CodeBadPayload: the action's payload does not have the form that the action needs.
	CodeBadPayload Code = "bad_payload"
	// CodeConflict: a rule of the room's tables forbids the change.
	CodeConflict Code = "conflict"
	// CodeActionFailed: the room's code failed; nothing was changed.
	CodeActionFailed Code = "action_failed"
	// CodeActionTimeout: the action took too long; nothing was changed.
	CodeActionTimeout Code = "action_timeout"
	// CodePoisoned: the action failed each time that it was tried, and was given up;
	// nothing was changed.
	CodePoisoned Code = "poisoned"
	// CodeAborted: something else took the action down, or it failed in a way that may
	// pass; nothing was changed.
	CodeAborted Code = "aborted"
	// CodeActionDisabled: actions of this type have panicked or hung three times for this user,
	// and none runs for a minute; nothing was changed.
	CodeActionDisabled Code = "action_disabled"
	// CodeOverloaded: a queue is full; the message was not applied.
	CodeOverloaded Code = "overloaded"
	// CodeRoomUnavailable: the room cannot run now.
	CodeRoomUnavailable Code = "room_unavailable"
	// CodeStorageUnavailable: the room's database cannot be read or written now.
	CodeStorageUnavailable Code = "storage_unavailable"
	// CodeRoomFull: the room has reached its largest size; nothing was changed.
	CodeRoomFull Code = "room_full"
	// CodeTooLarge: over a limit of size.
	CodeTooLarge Code = "too_large"
	// CodeFrameTooLarge: the message is longer than the server accepts. Nothing of it was
	// applied. The server read only the members that it needs to answer.
	CodeFrameTooLarge Code = "frame_too_large"
	// CodeDuplicateID: this connection used the id before, for something else.
	CodeDuplicateID Code = "duplicate_id"
	// CodeMutationGap: an action of this client with a lower number has not come yet.
	CodeMutationGap Code = "mutation_gap"
	// CodeUnknownClient: the room does not know this client, and the number is not 1 or
	// the client is so old that the room may have forgotten it.
	CodeUnknownClient Code = "unknown_client"
	// CodeClientTaken: a younger connection sends for this client. Nothing was applied and the
	// number is not used up. The client that gets this code must stop sending.
	CodeClientTaken Code = "client_taken"
	// CodeAlreadyApplied: the action was answered before, and the answer is gone.
	CodeAlreadyApplied Code = "already_applied"
	// CodeUnauthorized: no identity, or one that may not do this.
	CodeUnauthorized Code = "unauthorized"
	// CodeForbiddenOrigin: the page's origin is not allowed.
	CodeForbiddenOrigin Code = "forbidden_origin"
	// CodeForbiddenHost: the request's Host header is not a name of the server.
	CodeForbiddenHost Code = "forbidden_host"
	// CodeUnknownNamespace: the server has no such namespace.
	CodeUnknownNamespace Code = "unknown_namespace"
	// CodeBadRoomName: the room's name is empty, too long or not UTF-8.
	CodeBadRoomName Code = "bad_room_name"
	// CodeBadHandshake: an upgrade that does not follow RFC 6455, or that cannot be served.
	CodeBadHandshake Code = "bad_handshake"
	// CodeNotFound: there is nothing under that path.
	CodeNotFound Code = "not_found"
	// CodeShuttingDown: the server is about to stop.
	CodeShuttingDown Code = "shutting_down"
)

// codeTable returns what Retryable and HTTPStatus say of a code. It is a switch, so
// that the package needs no state.
func codeTable(c Code) (retry retryAdvice, status int) {
	switch c {
	case CodeBadMessage, CodeBadPayload, CodeUnknownNamespace, CodeBadRoomName, CodeBadHandshake:
		return retryNever, http.StatusBadRequest
	case CodeUnsupportedData:
		return retryNever, http.StatusUnsupportedMediaType
	case CodeUnknownChannel, CodeUnknownAction, CodeNotFound:
		return retryNever, http.StatusNotFound
	case CodeActionFailed, CodePoisoned:
		return retryNever, http.StatusInternalServerError
	case CodeRoomFull:
		return retryNever, http.StatusInsufficientStorage
	case CodeActionTimeout:
		return retryLater, http.StatusGatewayTimeout
	case CodeAborted, CodeActionDisabled, CodeOverloaded, CodeRoomUnavailable, CodeStorageUnavailable, CodeShuttingDown:
		return retryLater, http.StatusServiceUnavailable
	case CodeTooLarge, CodeFrameTooLarge:
		return retryNever, http.StatusRequestEntityTooLarge
	case CodeMutationGap:
		return retryLater, http.StatusConflict
	case CodeDuplicateID, CodeConflict, CodeUnknownClient, CodeClientTaken, CodeAlreadyApplied:
		return retryNever, http.StatusConflict
	case CodeUnauthorized:
		return retryNever, http.StatusUnauthorized
	case CodeForbiddenOrigin:
		return retryNever, http.StatusForbidden
	case CodeForbiddenHost:
		return retryNever, http.StatusMisdirectedRequest
	}
	return retryNever, http.StatusInternalServerError
}

type retryAdvice uint8

const (
	retryNever retryAdvice = iota
	retryLater
)

// Codes returns every request code that Den itself sends, in the order of
// PROTOCOL.md's table. A room may also send codes of its own.
func Codes() []Code {
	return []Code{
		CodeBadMessage, CodeUnsupportedData, CodeUnknownChannel, CodeUnknownAction, CodeBadPayload,
		CodeConflict, CodeActionFailed, CodeActionTimeout, CodePoisoned, CodeAborted, CodeActionDisabled, CodeOverloaded,
		CodeRoomUnavailable, CodeStorageUnavailable, CodeRoomFull, CodeTooLarge, CodeFrameTooLarge, CodeDuplicateID,
		CodeMutationGap, CodeUnknownClient, CodeClientTaken, CodeAlreadyApplied, CodeUnauthorized, CodeForbiddenOrigin,
		CodeForbiddenHost, CodeUnknownNamespace, CodeBadRoomName, CodeBadHandshake, CodeNotFound, CodeShuttingDown,
	}
}

// Retryable reports whether the same request may succeed if it is sent again
// a little later. It returns false for codes that Den does not know.
func (c Code) Retryable() bool {
	retry, _ := codeTable(c)
	return retry == retryLater
}

// HTTPStatus returns the status with which the code is sent over plain HTTP. It is
// 500 for codes that Den does not know.
func (c Code) HTTPStatus() int {
	_, status := codeTable(c)
	return status
}

// The codes with which a WebSocket is closed. Those below 4000 are RFC 6455's. Of
// Den's own, 4000–4499 ask the client to come back and 4500–4999 ask it not to.
// They are plain ints, as RFC 6455 and the WebSocket library have them.
const (
	CloseNormal          = 1000 // the client or the room is done
	CloseGoingAway       = 1001 // the server is shutting down
	CloseProtocolError   = 1002 // the client violated the WebSocket protocol
	CloseUnsupportedData = 1003 // data of a kind that is not served at all
	CloseInvalidData     = 1007 // a text, or the reason of a close, that is not UTF-8
	ClosePolicy          = 1008 // a violation that has no code of its own
	CloseTooBig          = 1009 // a message of more than twice the read limit
	CloseInternal        = 1011 // the room could not be set up, or the server failed

	CloseSlowConsumer     = 4000 // the send queue was full
	CloseKeepaliveTimeout = 4001 // no pong came back
	CloseOverloaded       = 4002 // the room or the server had no place left

	CloseRefused      = 4500 // the room refused the connection
	CloseUnauthorized = 4501 // the identity is gone, or may not be here
)

// CloseCodes returns the close codes above in ascending order. A room may close a
// connection with others.
func CloseCodes() []int {
	return []int{
		CloseNormal, CloseGoingAway, CloseProtocolError, CloseUnsupportedData, CloseInvalidData, ClosePolicy, CloseTooBig,
		CloseInternal,
		CloseSlowConsumer, CloseKeepaliveTimeout, CloseOverloaded, CloseRefused, CloseUnauthorized,
	}
}

// ComeBack reports whether a client whose socket was closed with code should
// connect again, after a pause that grows with each try. It returns true for
// the codes of a failed network (1005, 1006, 1012–1014, …).
func ComeBack(code int) bool {
	switch code {
	case CloseNormal, CloseProtocolError, CloseUnsupportedData, CloseInvalidData, ClosePolicy, CloseTooBig:
		return false
	}
	return code < 4500 || code > 4999
}
