// Package features turns the segments of one TCP connection into the few facts
// that tell what its ends were doing: whose turn it is to send, what waits for
// an answer, how long it was silent and what ended the silence, who closed.
//
// It is pure, as package faults is: time comes in with each segment, nothing is
// read, written or allocated. The outcome of a strike is judged by these facts,
// and so is the cause of a reset in a capture.
package features
