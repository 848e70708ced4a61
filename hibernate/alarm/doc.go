// Package alarm wakes sleeping rooms at times that they have set.
//
// A room keeps its alarms in its own database. A [Clock] knows one time for
// each room that has alarms, the earliest, and nothing about other rooms. At
// that time the clock calls the room, and the room runs the alarms that are
// due.
//
// The clock keeps its times in the index, a database file of its own, so that
// a process that starts need not open the file of every room. For each room
// the index has a bound: a time that is never later than the room's next
// alarm. A room that is called too early finds nothing to do. A room that is
// not called would miss its alarm. This fixes the order of writes when a room
// sets an alarm:
//
//	Clock.Lower     the bound in the index is durable
//	room's commit   the alarm is durable
//	Clock.Set       the clock knows the time; it raises the bound later
//
// A crash after the first step calls the room once for nothing. If the index
// is lost, it is built again from the rooms' files.
//
// The index also has reminders, which say when to work on a room's file
// without waking the room.
package alarm
