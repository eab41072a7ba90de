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

// part is what a process spends its time on.
type part struct {
	what string
	in   []string // functions, one of which is under way; none: whatever is left
	and  []string // and one of these, if there are any
}

// parts are those of faultctl while every packet is diverted, in the order in which
// they are asked: a function may be called in several.
var parts = []part{
	{what: "giving way: to be switched off the processor, and on again", in: []string{"schedule"}},
	{what: "sent on: output, the wire, and the client's TCP behind it", in: []string{"nfqnl_reinject"}, and: []string{"net_rx_action", "ip_output", "ip6_output"}},
	{what: "delivered: the service's TCP, and waking the service", in: []string{"nfqnl_reinject"}, and: []string{"tcp_v4_rcv", "tcp_v6_rcv", "ip_local_deliver_finish", "ip6_input_finish"}},
	{what: "verdicts: the system call, netlink, out of the queue, back into the hook", in: []string{"nfqueue).flush"}},
	{what: "receiving: the system call, netlink, the copy", in: []string{"nfqueue).recvmmsg"}},
	{what: "judging: decode, flow, decide, commit; the clock, the loop"},
}

// share is a part of a profile.
type share struct {
	what string
	of   float64 // of the whole
}

// profile is where faultctl spends its time when every packet of the Redis workload
// is diverted, by perf.
func (b *bench) profile() error {
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
	perf.Wait() // it says that it was interrupted
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

// split says how the samples of a profile, stacks with the innermost function first
// and an empty line between, are divided among the parts.
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

// profiled is the table of it.
func (r *results) profiled() string {
	if len(r.profile) == 0 {
		return ""
	}
	var p strings.Builder
	us := median(r.of(all, cpu))
	p.WriteString("\n## Where a diverted packet's time goes\n\n| of faultctl's processor time, every packet diverted | share | µs a packet |\n|---|--:|--:|\n")
	for _, s := range r.profile {
		fmt.Fprintf(&p, "| %s | %.0f %% | %s |\n", s.what, 100*s.of, figure(us*s.of, 2))
	}
	p.WriteString("\nBy `perf`, in a turn of its own. What is sent on and what is delivered would take its time without faultctl, too, on\n" +
		"the account of whoever sent it; with faultctl it runs within the call that gives the verdict.\n")
	return p.String()
}
