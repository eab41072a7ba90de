// Package rulesettest has rules for tests of several packages.
package rulesettest

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/faultctl/faultctl/injector/internal/sign"
	"github.com/faultctl/faultctl/injector/target"
)

// Tag is that of the rules.
const Tag sign.Tag = 0x12345

// Compile makes the rules of one of the Inputs, or of a test's own, as those of the
// first run in a namespace. It fills in what a test leaves out: the table's name, and
// the numbers of queues.
func Compile(in ruleset.Input) *ruleset.Ruleset {
	in.Table, in.Tag, in.Priority, in.Queue, in.Queues = "faultctl_1", Tag, ruleset.Priority, 61440, max(1, in.Queues)
	return ruleset.Compile(&in)
}

// Of is the input of a single rule.
func Of(m target.Matcher, d faults.Diversion) ruleset.Input {
	return ruleset.Input{Rules: []ruleset.Rule{{Match: m, Diverts: d}}}
}

// manyEnds are more than are compared one by one, of two ports in IPv4 and of many
// in IPv6, and some that are no single ones.
func manyEnds() []target.Endpoint {
	es := []target.Endpoint{endpoint("10.0.0.0/24", 80, 80), endpoint("", 9000, 9100)}
	for i := range uint16(ruleset.FewEnds + 1) {
		es = append(es, endpoint(fmt.Sprintf("10.0.1.%d/32", i), 5432+i%2, 5432+i%2), endpoint(fmt.Sprintf("fd00::%d/128", i), 6000+i, 6000+i))
	}
	return append(es, es[2]) // one of them twice
}

func endpoint(prefix string, low, high uint16) target.Endpoint {
	e := target.Endpoint{LowPort: low, HighPort: high}
	if prefix != "" {
		e.Prefix = netip.MustParsePrefix(prefix)
	}
	return e
}

// Inputs are what the rules are compiled from that golden files hold, and that are put
// into a real kernel.
var Inputs = map[string]ruleset.Input{
	"syn": {Rules: []ruleset.Rule{{
		Match:   target.Matcher{To: []target.Endpoint{endpoint("", 5432, 5432)}},
		Diverts: faults.Diversion{SYN: true},
	}}},
	"idle": {Rules: []ruleset.Rule{{
		Match:   target.Matcher{To: []target.Endpoint{endpoint("10.0.0.0/8", 80, 80), endpoint("fd00::5/128", 8000, 8100)}, From: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/16")}},
		Diverts: faults.Diversion{Idle: 300 * time.Second},
	}}},
	"idle-data-of-client": {Rules: []ruleset.Rule{{
		Match:   target.Matcher{To: []target.Endpoint{endpoint("10.0.0.5/32", 0, 0)}},
		Diverts: faults.Diversion{Idle: 1500 * time.Millisecond, Refresh: faults.Refresh{From: faults.Client, MinPayload: 2}},
	}}},
	"all-untargeted": {
		Rules:   []ruleset.Rule{{Diverts: faults.Diversion{All: true}}},
		Protect: []target.Conn{{A: netip.MustParseAddrPort("10.0.0.1:22"), B: netip.MustParseAddrPort("10.0.0.2:40000")}},
	},
	"many-ends": {Rules: []ruleset.Rule{{
		Match:   target.Matcher{To: manyEnds(), From: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/16")}},
		Diverts: faults.Diversion{SYN: true, NoCapture: true},
	}}},
	"held": {
		Rules: []ruleset.Rule{{
			Match:   target.Matcher{To: []target.Endpoint{endpoint("10.0.0.5/32", 5432, 5432)}},
			Diverts: faults.Diversion{SYN: true, All: true, Whole: true, Holds: true},
		}},
		Queues: 2, GSOQueue: 61464,
	},
	"two-rules": {Rules: []ruleset.Rule{
		{
			Match:   target.Matcher{To: []target.Endpoint{endpoint("", 80, 90)}, Except: []target.Endpoint{endpoint("10.0.0.9/32", 85, 85)}},
			Diverts: faults.Diversion{FIN: true, RST: true, SYNACK: true},
		},
		{Match: target.Matcher{To: []target.Endpoint{endpoint("::/0", 443, 443)}}, Diverts: faults.Diversion{Small: true}},
	}},
	"nat": {
		Rules: []ruleset.Rule{
			{
				Match:   target.Matcher{To: []target.Endpoint{endpoint("", 9000, 9000), endpoint("10.0.0.5/32", 80, 90), endpoint("fd00::/64", 80, 80)}, From: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/16")}},
				Diverts: faults.Diversion{All: true},
			},
			{Match: target.Matcher{Owner: target.Owner{Cgroup: &target.Cgroup{Path: "faultctl/run", ID: 42, Level: 2}}}, Diverts: faults.Diversion{SYN: true}},
		},
		NAT:   [2]bool{true, true},
		Local: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")},
	},
	"nat-of-IPv4": {
		Rules: []ruleset.Rule{{
			Match:   target.Matcher{To: []target.Endpoint{endpoint("", 9000, 9000)}},
			Diverts: faults.Diversion{SYN: true, NoCapture: true},
		}},
		NAT:   [2]bool{true, false},
		Local: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
	},
	"owner-cgroup": {Rules: []ruleset.Rule{{
		Match:   target.Matcher{Owner: target.Owner{Cgroup: &target.Cgroup{Path: "faultctl/run", ID: 42, Level: 2}}},
		Diverts: faults.Diversion{SYN: true},
	}}},
	"owner-user": {Rules: []ruleset.Rule{
		{Match: target.Matcher{To: []target.Endpoint{endpoint("", 80, 80)}}, Diverts: faults.Diversion{SYN: true}},
		{
			Match:   target.Matcher{To: []target.Endpoint{endpoint("10.0.0.5/32", 5432, 5432)}, Owner: target.Owner{UID: new(uint32(1000)), Cgroup: &target.Cgroup{Path: "app", ID: 7, Level: 1}}},
			Diverts: faults.Diversion{Idle: time.Second},
		},
	}},
}
