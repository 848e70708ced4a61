package syncproto

// DecodeHead reads what the beginning of a message shows that is too long to be held: head is
// its first bytes, in which it need not end. Kind is KindAction or KindSync where that can be
// told, and Channel, ID, Client and Mutation are set where they stand in head and are in order;
// nothing else is. Client and Mutation are set together or not at all.
//
// A client whose messages may be too long writes these members before the payload.
func DecodeHead(head []byte) Message {
	s := scanner{data: head, maxDepth: maxMaxDepth}
	s.message()                                   // its fault is that it does not end
	if s.fields[fieldMutation].end == len(head) { // it may have more digits
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
