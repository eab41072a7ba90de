package clients

import "strings"

// play is what a client does while the fault is active.
type play string

const (
	call   play = "call"   // two requests, on one connection if it survives
	end    play = "end"    // a request whose response ends where the connection ends
	upload play = "upload" // a request of 8 MiB
	early  play = "early"  // the same, to a server that responds at once that it is too large
	wait   play = "wait"   // a request whose response takes a long time, with TCP keepalive on
)

func (p play) String() string {
	return map[play]string{
		call:   "two requests on one connection",
		end:    "a request whose response ends with the connection",
		upload: "an upload of 8 MiB",
		early:  "an upload of 8 MiB, to which the server responds early that it is too large",
		wait:   "a request whose response takes a long time, with TCP keepalive on",
	}[p]
}

// A cause is a fault with its knobs, as a SPEC on the command line, and what the
// client does meanwhile.
type cause struct {
	spec  string // REQUEST stands for the trigger of the first request
	play  play
	pause float64 // between the two requests, in seconds
	limit int     // the client's timeout for a connect, a read or a request, in seconds; 0 means 2
	v6    bool    // over IPv6, else over IPv4
	meets errno   // what the kernel returns to a client that reads or writes
}

// errno is what the kernel returns to the client, and from which call.
type errno string

const (
	nothing        errno = "no error"
	refused        errno = "connect: ECONNREFUSED"
	portUnreach    errno = "connect: ECONNREFUSED, from an ICMP error"
	hostUnreach    errno = "connect: EHOSTUNREACH"
	netUnreach     errno = "connect: ENETUNREACH"
	forbidden      errno = "connect: EACCES"
	connectLate    errno = "connect: no answer within the client's timeout"
	connectTimeout errno = "connect: ETIMEDOUT"
	readReset      errno = "read: ECONNRESET"
	firstReset     errno = "the first call after connect: ECONNRESET"
	writeReset     errno = "write in progress: ECONNRESET"
	earlyReset     errno = "write in progress: ECONNRESET, with a response left to read"
	idleReset      errno = "the next call after the pause: ECONNRESET"
	lateReset      errno = "write after the pause: success, then read: ECONNRESET"
	endReset       errno = "read after the response: ECONNRESET"
	stream         errno = "read: end of stream"
	idleStream     errno = "the next read after the pause: end of stream"
	readLate       errno = "read: no data within the client's timeout"
	readHeld       errno = "read: no data within the client's timeout, although everything written was acknowledged"
	firstLate      errno = "the first read after connect: no data within the client's timeout"
	idleLate       errno = "write after the pause: success, then read: no data within the client's timeout"
	readTimeout    errno = "read: ETIMEDOUT"
	probeTimeout   errno = "read: ETIMEDOUT, after keepalive probes"
	writeStuck     errno = "write: blocks"
)

// untried are faults of the catalogue that none of the programs bring about, or not
// reliably.
var untried = map[string]string{
	"half-close-intolerant": "none of them shuts down its sending side while it awaits an answer",
	"nat-leak":              "whether the answer comes before the RST is a matter of microseconds: what they report differs from run to run",
}

var causes = []cause{
	{spec: "reset:at=REQUEST", play: call, meets: readReset},
	{spec: "reset:at=bytes=200000", play: upload, meets: writeReset},
	{spec: "reset:at=syn,hit=client", play: call, meets: refused},
	{spec: "syn-drop:attempts=0", play: call, meets: connectLate},
	{spec: "syn-drop:attempts=0", play: call, limit: 10, meets: connectTimeout},
	{spec: "syn-drop:attempts=1", play: call, meets: nothing},
	{spec: "idle-expire:after=1s", play: call, pause: 2, meets: lateReset},
	{spec: "idle-expire:after=1s,then=silent", play: call, pause: 2, meets: idleLate},
	{spec: "idle-expire:after=1s,then=rst-both", play: call, pause: 2, meets: idleReset},
	{spec: "idle-expire:after=1s,then=fin-both", play: call, pause: 2, meets: idleStream},
	{spec: "half-open:peer=rebooted,at=REQUEST", play: call, meets: readReset},
	{spec: "half-open:peer=crashed,at=REQUEST", play: call, meets: readLate},
	{spec: "half-open:peer=crashed,at=REQUEST", play: call, limit: 10, meets: readTimeout},
	{spec: "closed-socket:at=REQUEST", play: call, meets: stream},
	{spec: "closed-socket:at=REQUEST,pass-response", play: call, pause: 1, meets: idleStream},
	{spec: "linger-reset", play: end, meets: endReset},
	{spec: "unread-close", play: call, pause: 1, meets: idleReset},
	{spec: "unread-close", play: early, meets: earlyReset},
	{spec: "rst-close", play: end, meets: endReset},
	{spec: "accept-overflow", play: call, meets: firstLate},
	{spec: "accept-overflow:abort", play: call, meets: firstReset},
	{spec: "refuse", play: call, meets: refused},
	{spec: "unreachable:code=host", play: call, meets: hostUnreach},
	{spec: "unreachable:code=net", play: call, meets: netUnreach},
	{spec: "unreachable:code=port", play: call, meets: portUnreach},
	{spec: "unreachable:code=admin", play: call, meets: hostUnreach},
	{spec: "connect-stall:for=5s", play: call, meets: connectLate},
	{spec: "syn-challenge", play: call, meets: nothing},
	{spec: "paws-reject:regress=10s", play: call, meets: connectLate},
	{spec: "keepalive-drop", play: wait, limit: 20, meets: probeTimeout},
	{spec: "bad-seq:kind=rst-in-window", play: call, meets: nothing},
	{spec: "stall:at=REQUEST", play: call, meets: readHeld},
	{spec: "stall:at=REQUEST", play: upload, meets: writeStuck},
	{spec: "hang:at=REQUEST", play: call, meets: readHeld},

	// Over IPv6, programs usually report the same.
	{spec: "reset:at=REQUEST", play: call, v6: true, meets: readReset},
	{spec: "refuse", play: call, v6: true, meets: refused},
	{spec: "unreachable:code=admin", play: call, v6: true, meets: forbidden},
}

// fault is the name in the catalogue.
func (c cause) fault() string {
	name, _, _ := strings.Cut(c.spec, ":")
	return name
}

func (c cause) seconds() int {
	if c.limit == 0 {
		return 2
	}
	return c.limit
}

// id is the cause's name in the names of subtests.
func (c cause) id() string {
	id := strings.ReplaceAll(c.spec, "at=REQUEST", "")
	id = strings.NewReplacer(":,", ":", ",,", ",").Replace(id)
	id = strings.Trim(id, ":,") + "/" + string(c.play)
	if c.limit != 0 {
		id += "-patient"
	}
	if c.v6 {
		id += "-IPv6"
	}
	return id
}
