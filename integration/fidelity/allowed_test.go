package fidelity

import (
	"strings"

	"github.com/faultctl/faultctl/faults"
)

// allowance is a known difference between the lanes that is allowed for a reason.
// The table of allowances is the only place for them: any other difference makes a
// comparison fail.
type allowance struct {
	what string // what differs
	why  string
	is   func(c *comparison, d difference) bool
}

var allowances = []allowance{
	{
		what: "the TTL of a device's own segments is one lower",
		why:  "the device that faultctl imitates is on an end's host, behind the router; in the genuine lane it is the router itself",
		is: func(c *comparison, d difference) bool {
			far := c.at == atServer && d.side == faults.Client || c.at == atClient && d.side == faults.Server
			return d.what == "TTL" && c.cause.device && far && d.injected.TTL+1 == d.genuine.TTL &&
				(d.injected.ICMP != "" || d.injected.Flags[0] == 'R')
		},
	},
	{
		what: "a forged RST or challenge ACK has the TTL of a directly connected host",
		why:  "the distance of a host is known from the TTL of what it sends; a host that faultctl has not heard from on this connection is assumed to be directly connected",
		is: func(c *comparison, d difference) bool {
			unheard := c.cause.late || c.cause.fault == "refuse" || strings.HasPrefix(c.cause.fault, "reset:at=syn,")
			answers := strings.HasPrefix(d.injected.Flags, "R") || c.cause.reused && d.injected.Flags == "."
			return d.what == "TTL" && unheard && answers && d.injected.TTL == d.genuine.TTL+1
		},
	},
	{
		what: "a challenge ACK has the window of another connection",
		why:  "it is the old connection's window, which nobody has seen",
		is: func(c *comparison, d difference) bool {
			return d.what == "window" && c.cause.reused && d.injected.Flags == "." && d.injected.Way == "S>C" && d.injected.Seq == 0
		},
	},
	{
		what: "the ICMP error comes from the unreachable address itself",
		why:  "the genuine error comes from the router's own address, which does not appear in the packets",
		is: func(c *comparison, d difference) bool {
			injected := strings.Replace(d.injected.ICMP, "the address itself", "a router", 1)
			if c.at == atClient {
				injected = strings.Replace(injected, "TTL 64", "TTL 63", 1) // it has not been forwarded yet
			}
			return d.what == "ICMP" && injected == d.genuine.ICMP
		},
	},
	{
		what: "an end's output shows a RST from the firewall",
		why:  "on loopback the genuine device is the host's own firewall, so what it sends passes the host's output hook, as what the ends send does",
		is: func(c *comparison, d difference) bool {
			return d.what == "only genuine" && c.cause.device && c.at == loopback &&
				d.genuine.Flags == "R" && d.genuine.Way == outward(d.side)
		},
	},
	{
		what: "the server is probed for its sequence numbers",
		why:  "faultctl does not see the segments of a flow until its idle time is over, and then probes with a byte that is outside any window; the server's TCP answers, and its application sees nothing. A device that has seen every segment need not probe",
		is: func(c *comparison, d difference) bool {
			probe := d.injected.Way == "C>S" && d.injected.Len == 1 && d.injected.Window == 0 && d.injected.Stamps == ""
			answer := d.injected.Way == "S>C" && d.injected.Flags == "." && d.injected.Len == 0
			return d.what == "only injected" && c.cause.asks && d.side == faults.Server && (probe || answer)
		},
	},
	{
		what: "the IP identification of the client's RST does not continue the sequence",
		why:  "it continues from the last segment of the client that faultctl saw, and faultctl did not see the rest",
		is: func(c *comparison, d difference) bool {
			return d.what == "identification" && c.cause.asks && d.side == faults.Server && d.injected.Flags == "R."
		},
	},
	{
		what: "the IP identification of what comes after an answer that was held back does not continue the sequence",
		why:  "the server's TCP has used some identifications for what faultctl dropped: the answer itself, and window probes",
		is: func(c *comparison, d difference) bool {
			held := strings.HasPrefix(c.cause.fault, "stall:") && d.injected.Len > 0 || strings.HasPrefix(c.cause.fault, "hang:")
			return d.what == "identification" && held && d.injected.Way == "S>C"
		},
	},
}

// allowed returns the number of the allowance that covers d, from 1, or 0.
func (c *comparison) allowed(d difference) int {
	for n, a := range allowances {
		if a.is(c, d) {
			return n + 1
		}
	}
	return 0
}

// unfaithful lists the comparisons that are known to fail, and why. The page says
// so. One that has become equal must be removed from this table.
var unfaithful = map[string]string{
	"stall/IPv4/loopback": openingWindow,
	"stall/IPv6/loopback": openingWindow,
}

const openingWindow = "a socket that is not read may keep opening its window for a while, because its buffer has more room than it last advertised. " +
	"Over loopback, whose packets are large, that is the whole buffer; over a wire it is nothing on a new connection and a few kilobytes on one that has carried much data. " +
	"The fault cannot see the buffer, and closes the window from the last advertised right edge"
