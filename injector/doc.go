// Package injector does to a running Linux machine what package faults
// decides.
//
// The kernel decides which packets matter: a table of rules, ours alone,
// diverts the segments that a fault needs into a netfilter queue and nothing
// else. A worker takes each one in a straight line through parse, match,
// observe, decide and commit; commit is the only place with side effects. The
// table dies with the process, whatever kills it.
//
//	inj, err := injector.Start(ctx, injector.Config{Rules: rules})
//	...
//	err = inj.Stop() // returns when everything is as it was before
package injector
