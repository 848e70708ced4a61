// Package policy holds the rules of Den's house as tests: which package may import which, what a package may keep
// at its top level, what must be documented, which words stay out of the files, that docs/invariants.txt names tests
// that exist, that README's code is code that compiles, and that a change of the exported API is seen in a diff.
//
// A rule that fails says what to do about it. A rule that no longer fits is changed here, with its reason, in the
// same commit as the code that needs it.
//
// Each rule is a function from files to complaints, and has a test that plants a fault and expects the complaint;
// so a rule that stopped seeing anything does not pass in silence. The rules read sources only (go list and the
// parser, no type checking), so they take seconds and hold for the files of every operating system.
package policy
