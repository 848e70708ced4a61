package syncproto

// DecodeHead reads the beginning of a message that is too long to be held in memory. head is
// its first bytes. Kind is KindAction or KindSync if head shows it. Channel, ID, Client and
// Mutation are set if head has them in valid form; Client and Mutation are set together or not
// at all. No other field is set.
//
// A client whose messages may be too long writes these members before the payload.
func DecodeHead(head []byte) Message {
	s := scanner{data: head, maxDepth: maxMaxDepth}
	s.message()                                   // fails, because the message does not end
	if s.fields[fieldMutation].end == len(head) { // the number may have more digits
		s.fields[fieldMutation] = token{}
	}
	var m Message
	m.Kind = s.kind()
	var buf [MaxNameBytes]byte
	if channel, fault := s.name(buf[:0], fieldChannel); fault == "" {
		m.Channel = string(channel)
	}
	if id, fault := s.name(buf[:0], fieldID); fault == "" {
		m.ID = string(id)
	}
	if client, n, _, fault := s.mutation(buf[:0]); fault == "" && n > 0 {
		m.Client, m.Mutation = string(client), n
	}
	return m
}
