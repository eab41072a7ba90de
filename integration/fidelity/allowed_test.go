package fidelity

import (
	"strings"

	"github.com/faultctl/faultctl/faults"
)

// allowance is a difference between the lanes that is known, and allowed for a
// reason. This table is the only place for them: whatever it does not name
// makes a cell unequal.
type allowance struct {
	what string // what differs
	why  string
	is   func(c *cell, d difference) bool
}

var allowances = []allowance{
	{
		what: "the TTL of a device's own segments is lower by one",
		why:  "the device that faultctl plays stands on the server's host, behind the router; in the genuine lane it is the router itself",
		is: func(c *cell, d difference) bool {
			far := c.at == atServer && d.side == faults.Client || c.at == atClient && d.side == faults.Server
			return d.what == "TTL" && c.cause.device && far && d.injected.TTL+1 == d.genuine.TTL &&
				(d.injected.ICMP != "" || d.injected.Flags[0] == 'R')
		},
	},
	{
		what: "a forged RST has the TTL of a host next door",
		why:  "how far away a host is shows in what it sends; one that faultctl has not heard on this connection is taken to be near",
		is: func(c *cell, d difference) bool {
			unheard := c.cause.late || c.cause.fault == "refuse" || strings.HasPrefix(c.cause.fault, "reset:at=syn,")
			return d.what == "TTL" && unheard && d.injected.Flags[0] == 'R' && d.injected.TTL == d.genuine.TTL+1
		},
	},
	{
		what: "the ICMP error comes from the address that cannot be reached",
		why:  "the genuine one comes from the router's own address, which stands nowhere in the packets",
		is: func(c *cell, d difference) bool {
			injected := strings.Replace(d.injected.ICMP, "the address itself", "a router", 1)
			if c.at == atClient {
				injected = strings.Replace(injected, "TTL 64", "TTL 63", 1) // it was not forwarded yet
			}
			return d.what == "ICMP" && injected == d.genuine.ICMP
		},
	},
	{
		what: "an end's output shows a RST of the firewall",
		why:  "on loopback the genuine device is the host's own firewall: what it sends leaves by the host's output, like what the ends send",
		is: func(c *cell, d difference) bool {
			return d.what == "only genuine" && c.cause.device && c.at == loopback &&
				d.genuine.Flags == "R" && d.genuine.Way == outward(d.side)
		},
	},
	{
		what: "the server is asked for its numbers",
		why:  "faultctl lets a flow pass unseen until its time is over, then asks with a byte that lies outside of any window; the server's TCP answers, its application sees nothing. A device that has seen every segment need not ask",
		is: func(c *cell, d difference) bool {
			probe := d.injected.Way == "C>S" && d.injected.Len == 1 && d.injected.Window == 0 && d.injected.Stamps == ""
			answer := d.injected.Way == "S>C" && d.injected.Flags == "." && d.injected.Len == 0
			return d.what == "only injected" && c.cause.asks && d.side == faults.Server && (probe || answer)
		},
	},
	{
		what: "the identification of the client's RST does not go on",
		why:  "it does from the last segment of the client's that faultctl saw, and the rest was let pass unseen",
		is: func(c *cell, d difference) bool {
			return d.what == "identification" && c.cause.asks && d.side == faults.Server && d.injected.Flags == "R."
		},
	},
	{
		what: "the identification of an answer that was held back does not go on",
		why:  "the server's TCP has used some up in asking for a window, and faultctl let nobody hear that",
		is: func(c *cell, d difference) bool {
			return d.what == "identification" && strings.HasPrefix(c.cause.fault, "stall:") && d.injected.Way == "S>C" && d.injected.Len > 0
		},
	},
}

// allowed returns the number of the allowance, from 1, or 0.
func (c *cell) allowed(d difference) int {
	for n, a := range allowances {
		if a.is(c, d) {
			return n + 1
		}
	}
	return 0
}

// unfaithful are the cells that are known not to be equal, and why. They are
// printed as such. One that has become equal must leave this table.
var unfaithful = map[string]string{
	"stall/IPv4/loopback": openingWindow,
	"stall/IPv6/loopback": openingWindow,
}

const openingWindow = "a socket that is not read may go on opening its window for a while: its buffer has more room than it offered last. " +
	"Over loopback, whose packets are large, that is all of the buffer, on the wire nothing on a new connection and a kilobyte or a few on one that has carried much. " +
	"The fault cannot see the buffer, and lets the window close from where it was offered last"
