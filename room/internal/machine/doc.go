// Package machine tells what a process may have of its machine.
package machine
