package fidelity

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/faults"
)

var explainHead = ticks(`# What explain can tell

<!-- made by make fidelity -->

~faultctl explain CAPTURE~ reads the catalogue of faults backwards: it says which cause a reset or a timeout looks like, how sure
that is, what was seen, what would settle a doubt, what helps, and the command line that brings the same about. It needs no privilege and
changes nothing. ~sudo faultctl explain --to :5432 --duration 10m~ listens instead, as tcpdump does: it needs CAP_NET_RAW, copies the
headers of every TCP packet of its network namespace, and counts what came too fast to be read. It also asks the kernel: why this host
sends a RST (~tcp:tcp_send_reset~, which takes CAP_PERFMON and tracefs, or root), why packets are dropped, what the counters of the
namespace say, and which process held the socket. What it has no right to see it says.

* **sure**: only one fault of the catalogue shows this. **likely**: one fits better than the others. *A or B*: they look the same from
  where the capture was made. A service that is merely slow is never named more than possible.
* What explain looks for stands in each fault's own file (~Shows~), beside the model that makes it: what must be there, what cannot be
  there, what makes it likelier.
* Captures: pcap and pcapng, gzip, Ethernet with VLAN tags or PPPoE, cooked (SLL, SLL2), raw IP, BSD loopback; cut to 68 bytes, one
  direction only, begun in the middle of a connection, each packet twice (~tcpdump -i any~ on a router). What a capture does not show
  is not known, and never counts as absent. It reads streams: ~tcpdump -w - | faultctl explain -~.
* A capture that faultctl wrote of its own run (~--pcap~) is read as the client would have made it.
* Fragments of IP packets are not put together, tunnels are not opened. At most 100,000 connections are followed at once; beyond that
  those that were silent the longest are judged early, and counted.

## What it says of each genuine cause

The table is made from the genuine lanes of the [fidelity](FIDELITY.md) suite: real programs, kernels and routers, captured at three
places. Of the injected lanes it says the same, without knowing who made them, but for what FIDELITY.md lists as not to be hidden: the
probe by which faultctl asks an end for its numbers, and the TTL of a host of which it has seen nothing yet. Two families: IPv4, and IPv6 if it differs.
A dash means that nothing of the fault passed there, or that the capture shows no more than an answer that has not come yet.

`)

// explainPage is docs/EXPLAIN.md.
func explainPage(all []explained) string {
	var b strings.Builder
	b.WriteString(explainHead)
	slices.SortStableFunc(all, func(a, b explained) int { return cmp.Compare(causeIndex(a.cause), causeIndex(b.cause)) })
	named, seen, sure := 0, 0, 0
	for _, e := range all {
		if e.nothing {
			continue
		}
		seen++
		if e.named() {
			named++
		}
		if e.verdict.Certainty > 1 && e.named() {
			sure++
		}
	}
	fmt.Fprintf(&b, "Of %d captures that show something, %d are given the right name, alone or among those that look the same from there; %d are given it alone. None is given a wrong name as sure.\n\n", seen, named, sure)
	b.WriteString("| genuine cause | at the client | on the router | at the server |\n|---|---|---|---|\n")
	for n := range causes {
		c := &causes[n]
		cells := map[string][2]string{}
		found := false
		for _, e := range all {
			if e.cause == c {
				pair := cells[e.vantage]
				pair[pick(e.v6, 1, 0)] = strings.ReplaceAll(e.String(), "nothing", "–")
				cells[e.vantage] = pair
				found = true
			}
		}
		if !found {
			continue
		}
		fmt.Fprintf(&b, "| %s |", c.name)
		for _, v := range vantages {
			pair := cells[v]
			fmt.Fprintf(&b, " %s%s |", pair[0], pick(pair[0] == pair[1], "", "; IPv6: "+pair[1]))
		}
		b.WriteString("\n")
	}
	b.WriteString(holdout())
	b.WriteString("\n## What cannot be told\n\n")
	b.WriteString(explainTail)
	return b.String()
}

// holdout is the part of the page that package holdout writes, as it is.
func holdout() string {
	b, err := os.ReadFile("../../docs/EXPLAIN.md")
	if err != nil {
		return ""
	}
	begin, end := strings.Index(string(b), "\n## Captures that no rule was made from\n"), strings.Index(string(b), "\n## What cannot be told\n")
	if begin < 0 || end < begin {
		return ""
	}
	return string(b[begin:end])
}

var explainTail = ticks(`* Whether a socket that aborts did so because of SO_LINGER, of data that nobody read, or because somebody destroyed it: the segments are
  the same. At its host the kernel knows (the reason in the tracepoint ~tcp:tcp_send_reset~, since Linux 6.10): live, ~explain~ tells data
  that nobody read from the other two, and names the process.
* From one end, a device that forgot the connection in silence, a peer that crashed and a path that is cut look the same.
* Whether a FIN was lost on the way, or the peer has forgotten the connection; the first is rarer.
* At the end whose keepalive probes, or answers, get lost on the way: the RST of the other one, which gives up, looks like any abort.
* An application that answers late shows the same as one that hangs, until it answers.
* A byte of garbage that was already received is what some systems send as a keepalive probe.
* Where an idle device takes care to answer with the TTL of the other end, it is taken for that end.
`)

// ticks writes a backquote for each ~.
func ticks(s string) string { return strings.ReplaceAll(s, "~", "`") }

func causeIndex(c *cause) int {
	return slices.IndexFunc(causes, func(o cause) bool { return o.name == c.name })
}

// TestExplainPage checks that the page has the causes that there are, and that it
// claims no more than the test holds.
func TestExplainPage(t *testing.T) {
	b, err := os.ReadFile("../../docs/EXPLAIN.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	if !strings.HasPrefix(page, explainHead) || !strings.HasSuffix(page, explainTail) {
		t.Error("docs/EXPLAIN.md is out of date, run make fidelity")
	}
	for n := range causes {
		c := &causes[n]
		kind, _ := faults.Find(strings.SplitN(c.fault, ":", 2)[0])
		if has := strings.Contains(page, "\n| "+c.name+" |"); has != (kind.Shows != nil && c.sums == nil) {
			t.Errorf("docs/EXPLAIN.md is out of date, run make fidelity: row of %s: %v", c.name, has)
		}
	}
	var seen, named, alone int
	_, line, _ := strings.Cut(page, "\nOf ")
	if _, err := fmt.Sscanf(line, "%d captures that show something, %d are given the right name, alone or among those that look the same from there; %d", &seen, &named, &alone); err != nil || named*10 < seen*8 {
		t.Errorf("docs/EXPLAIN.md: %d of %d named, %v", named, seen, err)
	}
}
