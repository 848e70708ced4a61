// Package crash kills a den process with SIGKILL in the middle of its work, again and again over the same data
// directory, and checks that nothing that it told anybody is lost, and that nothing counts twice.
//
// Several clients in several rooms create, change and delete todos with some actions in flight. Each client writes
// its own rows, and its actions are numbered; so what a room holds after a kill must be, for each client, exactly the
// effect of its first k actions, where k is at least the last one that was acknowledged to it, broadcast to another
// client, shown in a snapshot (the gate) or found after an earlier kill, and at most the last one that it sent (wholly
// or not at all, in order). A row that was told must be the row that is there, byte for byte.
//
// Then the clients come back: some from a cursor, with numbered actions; the others as partysync's published client
// does, which is sent unasked what it lacks. Each must show just what is there. All send again what they had no answer
// to, and go on: an action that is applied a second time would have other stamps than those that were told, or fail.
// Every ten kills there are new clients in new rooms; the old rooms must be at the end as they were left. Now and then
// a server is killed while it takes up what the last one left.
//
// A kill leaves the machine's page cache alone. What a power cut does to files is another test's subject.
//
//	DEN_CRASH_LOOPS   kills; 5 if unset, 200 in make test
//	DEN_CRASH_FOR     a duration after which no further round begins, whatever the loops
//	DEN_CRASH_SEED    or -seed: repeats the choices of a run (not the moments: those are the scheduler's too)
//	DEN_BINARY        a den that is built already
package crash
