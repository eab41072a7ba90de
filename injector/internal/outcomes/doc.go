// Package outcomes finds out what became of the strikes of faults: whether what a fault
// sent left this host, whether the TCP that it was meant for accepted it, and whether
// the application felt it (docs/VERDICTS.md, docs/design/outcome.md).
//
// A Watcher follows the connections of one worker. The worker tells it, in this order,
// for each segment of a connection that has a Conn:
//
//	Met        where the segment was seen
//	MayStrike  what the faults want to do; if it says no, nothing of it is done
//	Segment    what is done to the segment (Alarm, if no segment is at hand)
//	Conclude   once the strike has been reported
//	Replaced   what goes on in place of the segment
//	Sent       what was handed to the raw socket, then or later
//
// Between packets the worker calls Due, no later than Next says. Finish ends what is
// known of a connection, and End that of all connections.
//
// A Conn takes some 450 bytes and is allocated when a connection is chosen. Connections
// that are parked have none, because a million waiting connections must stay small: when
// one of them wakes, Resume takes up what its record still knows. A connection that was
// struck is not parked until its outcome is settled.
//
// Nothing that is called for a packet allocates or blocks, except that the kernel is
// asked for the socket of a local end at most twice in the life of a connection (5 µs
// each): when it is chosen or, in a run that judges no command, when it is first struck;
// and before it is struck.
package outcomes
