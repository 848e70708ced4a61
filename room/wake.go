package room

// A WakeReason is why a room's life began: what it was called for by.
type WakeReason string

// The reasons.
const (
	WakeConnect  WakeReason = "connect"  // a client wants in
	WakeMessage  WakeReason = "message"  // a client's action, sync or other message
	WakeClose    WakeReason = "close"    // a client has gone
	WakeRequest  WakeReason = "request"  // a plain HTTP request
	WakeAlarm    WakeReason = "alarm"    // one of the room's alarms is due
	WakeOperator WakeReason = "operator" // somebody looks after it: a backup, a restore, a migration
	WakeRestart  WakeReason = "restart"  // the life before this one broke
)

// wakeReason tells it by the first message.
func wakeReason(first any) WakeReason {
	switch first.(type) {
	case *connectMessage:
		return WakeConnect
	case *actionMessage, *syncMessage, *rawMessage:
		return WakeMessage
	case *closeMessage, rosterMessage:
		return WakeClose
	case *requestMessage:
		return WakeRequest
	case *alarmMessage:
		return WakeAlarm
	case nil, *thenMessage:
		return WakeRestart
	}
	return WakeOperator
}
