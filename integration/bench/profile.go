package main

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// part is something that a process spends its time on.
type part struct {
	what string
	in   []string // the stack has one of these functions; none: everything that is left
	and  []string // and one of these, if there are any
}

// parts are faultctl's parts while every packet is diverted. A sample counts for
// the first part that it matches.
var parts = []part{
	{what: "preemption: being switched off the processor, and on again", in: []string{"schedule"}},
	{what: "forwarded: output, the wire, and the client's TCP behind it", in: []string{"nfqnl_reinject"}, and: []string{"net_rx_action", "ip_output", "ip6_output"}},
	{what: "delivered: the service's TCP, and waking the service", in: []string{"nfqnl_reinject"}, and: []string{"tcp_v4_rcv", "tcp_v6_rcv", "ip_local_deliver_finish", "ip6_input_finish"}},
	{what: "verdicts: the system call, netlink, leaving the queue, returning to the hook", in: []string{"nfqueue).flush"}},
	{what: "receiving: the system call, netlink, the copy", in: []string{"nfqueue).recvmmsg"}},
	{what: "judging: decode, flow, decide, commit; the clock, the loop"},
}

// share is one part's share of a profile.
type share struct {
	what string
	of   float64 // 0 to 1
}

// profile measures by perf where faultctl spends its time when every packet of the
// Redis workload is diverted.
func (b *benchmark) profile() error {
	t, err := allDiverted(b, servicePort)
	if err != nil {
		return err
	}
	defer t.stop()
	file := b.path("perf.data")
	perf := exec.Command("perf", "record", "-q", "-g", "-F", "4000", "-o", file, "-p", strconv.Itoa(t.cmd.Process.Pid))
	if err := perf.Start(); err != nil {
		return err
	}
	loadErr := b.redisTurn(netip.AddrPortFrom(b.host.V4, servicePort), &figures{})
	perf.Process.Signal(syscall.SIGINT)
	perf.Wait() // its exit status says that it was interrupted
	if loadErr != nil {
		return loadErr
	}
	out, err := exec.Command("perf", "script", "-i", file, "-F", "ip,sym").Output()
	if err != nil {
		b.missing["a profile"] = "perf script: " + firstLine(out, err)
		return nil
	}
	b.result.profile = split(string(out), parts)
	return nil
}

// split divides the samples of a profile among the parts. Samples are stacks with
// the innermost function first, separated by empty lines.
func split(stacks string, parts []part) []share {
	shares, samples := make([]share, len(parts)), 0.0
	for stack := range strings.SplitSeq(stacks, "\n\n") {
		if strings.TrimSpace(stack) == "" {
			continue
		}
		has := func(name string) bool { return strings.Contains(stack, name) }
		for i, p := range parts {
			if (len(p.in) == 0 || slices.ContainsFunc(p.in, has)) && (len(p.and) == 0 || slices.ContainsFunc(p.and, has)) {
				shares[i].of++
				break
			}
		}
		samples++
	}
	for i := range shares {
		shares[i].what = parts[i].what
		shares[i].of /= max(samples, 1)
	}
	return shares
}

// profiled returns the section with the profile.
func (r *results) profiled() string {
	if len(r.profile) == 0 {
		return ""
	}
	var p strings.Builder
	us := median(r.of(all, cpu))
	p.WriteString("\n## Where the time of a diverted packet goes\n\n| faultctl's processor time, every packet diverted | share | µs per packet |\n|---|--:|--:|\n")
	for _, s := range r.profile {
		fmt.Fprintf(&p, "| %s | %.0f %% | %s |\n", s.what, 100*s.of, figure(us*s.of, 2))
	}
	p.WriteString("\nMeasured by `perf`, in a separate turn. Forwarding and delivery take their time without faultctl, too, where it is accounted to\n" +
		"the sender. With faultctl they run within the call that gives the verdict.\n")
	return p.String()
}
