// Package holdout tries explain on captures from which none of its rules was made:
// tcpdump records what other programs do, and the result is published as it is.
package holdout
