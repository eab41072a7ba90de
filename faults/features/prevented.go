package features

import (
	"time"
)

// Prevention is what the ends did that kept a connection from being silent for
// as long as a device on the path waits.
type Prevention uint8

// The preventions. The zero value means that nothing did.
const (
	NotPrevented Prevention = iota
	ByData                  // payload kept coming: a heartbeat, or plain use
	ByKeepalives            // payload did not, but TCP's probes did
	ByClient                // the client closed before
	ByServer                // the server closed before
)

func (p Prevention) String() string {
	return [...]string{
		"not prevented", "kept alive by data", "kept alive by keepalives", "closed by the client", "closed by the server",
	}[min(p, ByServer)]
}

// Prevents says what kept the connection from being silent for as long as
// after, up to the given time, and how long its longest silence was: of all
// segments if all count, else of payload. A connection that is still open, and
// has been for less than after, was not prevented from anything yet.
func (f *Flow) Prevents(after time.Duration, all bool, at time.Duration) (Prevention, time.Duration) {
	data, any := f.SilentOfData(at), f.Silent(at)
	longest := data
	if all {
		longest = any
	}
	switch {
	case f.closer != NotPrevented && f.Last-f.Born < after:
		return f.closer, data.For
	case f.closer == NotPrevented && at-f.Born < after, longest.For >= after:
		return NotPrevented, longest.For
	case all && data.For >= after:
		return ByKeepalives, any.For
	case data.Ended >= FIN:
		return f.closer, data.For
	}
	return ByData, longest.For
}
