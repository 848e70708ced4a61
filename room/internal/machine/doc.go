// Package machine says what a process may use of its machine.
package machine
