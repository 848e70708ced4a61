// Package alarm wakes sleeping rooms at times that they have set.
//
// A room keeps its alarms in its own database. A [Clock] knows one time for
// each room that has alarms, the earliest, and nothing of other rooms. It has
// one timer for all of them.
//
// The clock keeps its times in the index, a database file of its own, so that
// a process that starts need not open every room. For each room the index has
// a lower bound: a time that is never later than the room's next alarm. A room
// that is woken too early looks at its table and does nothing. A room that is
// not woken would miss its alarm. So the order of writes is:
//
//	Lower   the bound in the index, durable
//	        the room's own commit, durable
//	Set     the clock's memory; the index follows later
//
// A crash between the first two steps wakes the room once for nothing. The
// index can be made again from the rooms' files.
//
// The index also holds reminders, which say when something is to be done to a
// room's file without waking the room.
//
// A Clock is safe for use by several goroutines at once.
package alarm
