// Package fidelity proves that the faults are the real thing: each one runs
// beside its genuine cause, on the same kernel in the same run, and the two are
// compared call by call and segment by segment.
//
// A cause (causes_*_test.go) says in a few lines what is genuine, which fault
// imitates it, and what the programs do meanwhile. It is played in two lanes:
// in the genuine one a real program, kernel or router does it; in the injected
// one faultctl does, and both programs are healthy. Whatever may differ stands
// in one table (allowed_test.go), each entry with its reason.
//
// go test runs a short form; make fidelity runs every cause from every vantage
// and writes docs/FIDELITY.md.
package fidelity
