package sockets

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// resetCounters are the counters of a network namespace that say something of resets
// (net/ipv4/proc.c), with what they mean.
var resetCounters = []struct{ name, says string }{
	{"ListenOverflows", "connections found an accept queue full"},
	{"ListenDrops", "SYNs or ACKs were dropped by listeners"},
	{"TCPReqQFullDrop", "SYNs found a SYN queue full"},
	{"TCPReqQFullDoCookies", "SYNs were answered by cookies because a SYN queue was full"},
	{"EmbryonicRsts", "connections were reset before they were accepted"},
	{"TCPAbortOnData", "connections were reset by a close with SO_LINGER 0, or by data after the close"},
	{"TCPAbortOnClose", "connections were reset because data was unread at the close"},
	{"TCPAbortOnMemory", "connections were reset for lack of memory"},
	{"TCPAbortOnTimeout", "connections were given up after repeats or probes without an answer"},
	{"TCPAbortOnLinger", "connections were reset because of TCP_LINGER2"},
	{"TCPAbortFailed", "RSTs could not be sent"},
	{"PAWSActive", "SYN-ACKs were dropped because of their timestamp"},
	{"PAWSEstab", "segments were dropped because of their timestamp"},
	{"PAWSPassive", "SYNs were dropped because of their timestamp"},
	{"TCPChallengeACK", "challenge ACKs were sent"},
	{"OutOfWindowIcmps", "ICMP errors were ignored"},
	{"EstabResets", "established connections were reset"},
	{"AttemptFails", "attempts to connect failed"},
}

// Counters are counters of a network namespace by their names.
type Counters map[string]uint64

// ReadCounters reads those of the calling thread's network namespace, which needs no
// privilege. proc is where /proc is.
func ReadCounters(proc string) (Counters, error) {
	c := Counters{}
	for _, file := range []string{"netstat", "snmp"} {
		b, err := os.ReadFile(filepath.Join(proc, "thread-self", "net", file))
		if err != nil {
			return nil, err
		}
		lines := strings.Split(string(b), "\n")
		for i := 0; i+1 < len(lines); i += 2 { // the names, then the numbers
			names, numbers := strings.Fields(lines[i]), strings.Fields(lines[i+1])
			if len(names) == 0 || len(names) != len(numbers) || names[0] != "TcpExt:" && names[0] != "Tcp:" {
				continue
			}
			for j := 1; j < len(names); j++ {
				if n, err := strconv.ParseUint(numbers[j], 10, 64); err == nil {
					c[names[j]] = n
				}
			}
		}
	}
	return c, nil
}

// Since says in words which of the counters that have to do with resets grew since.
func (c Counters) Since(before Counters) (says []string) {
	for _, r := range resetCounters {
		if n := c[r.name] - before[r.name]; c[r.name] > before[r.name] {
			says = append(says, strconv.FormatUint(n, 10)+" "+r.says+" ("+r.name+")")
		}
	}
	return says
}
