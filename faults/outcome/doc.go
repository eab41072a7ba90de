// Package outcome judges what a strike on a connection came to, in three steps:
//
//   - sent: it left this host, or took effect in the verdict itself;
//   - accepted: the TCP that it was meant for acted on it;
//   - felt: the application at that end had something at stake.
//
// Each step is yes, no or not known, with what says so and when. Not known is
// the zero value, and nothing becomes yes without evidence. docs/VERDICTS.md
// has the table from steps to verdicts in words; it is checked against [Table].
//
// It is pure, as package faults is: time comes in with each call, nothing is
// read, written or, for a segment, allocated.
package outcome
