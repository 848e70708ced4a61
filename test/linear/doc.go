// Package linear checks histories of concurrent clients for linearizability: each answer must be the one that a
// single client would have got, had all actions happened one after another, each at some moment between its being
// sent and its being answered.
//
// Clients talk to a real server over real sockets: several rooms, several clients in each, one action at a time for
// each client, on registers (read, write, compare and set), counters (add) and sets (put, drop, list). Meanwhile
// connections break in the middle of frames in either direction, and rooms are restarted and crashed. A client whose
// connection broke sends the action again under the same name, as often as it takes: then all tries are one operation,
// and a counter that counted two is seen. Half of the clients number their actions, the others have nothing but their
// connection id, as the published client of partysync. Or a client gives up and comes back under another name: then the
// action may happen at any time from its sending on, or never have had an effect that anybody saw.
//
// The histories are checked by porcupine, each key of each room alone. A key is left for a new one after
// operationsPerKey operations, because the time of the check grows with what is open at once.
//
//	go test ./test/linear -linear.for 10m    a soak
//	go test ./test/linear -seed N            repeats the choices of a run (not its moments)
package linear
