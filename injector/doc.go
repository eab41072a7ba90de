// Package injector carries out on a running Linux machine what package faults
// decides.
//
// The kernel decides which packets matter: a table of rules that belongs to
// this run diverts the segments that a fault needs, and no others, into a
// netfilter queue. A worker handles each segment in the same steps: parse,
// match, observe, decide, commit; commit is the only place with side effects.
// The kernel removes the table when the process dies, even by SIGKILL.
//
//	inj, err := injector.Start(ctx, injector.Config{Rules: rules})
//	...
//	err = inj.Stop() // returns when everything is as it was before
package injector
