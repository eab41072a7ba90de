// Package fidelity checks that the faults are the real thing: each one runs beside
// its genuine cause, on the same kernel and in the same run, and the two are
// compared call by call and segment by segment.
//
// A cause (causes_*_test.go) says in a few lines what the genuine failure is,
// which fault imitates it, and what the programs do meanwhile. It is played in two
// lanes: in the genuine lane a real program, kernel or router causes the failure;
// in the injected lane faultctl does, and both programs are healthy. Differences
// that are allowed are in one table (allowed_test.go), each with its reason.
//
// go test plays every cause with faultctl in some of the places where it can run;
// make fidelity plays every cause in every place and writes docs/FIDELITY.md.
package fidelity
