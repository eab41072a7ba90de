// Package ownpcap has the words by which a capture that faultctl wrote is known:
// package pcap writes them, and explain reads them.
package ownpcap

// Application begins the name of the program in the header of a file.
const Application = "faultctl "

// The names of the interfaces, which tell what was on the wire behind faultctl from
// what was on it before.
const (
	Judged   = "judged"   // packets that went on as they came
	Put      = "put"      // packets that were sent instead or besides
	Withheld = "withheld" // packets as they came that did not go on so
)
