package words

import (
	"cmp"
	"slices"
	"strings"
)

// synonyms are words of other tools, of errno and of people, with ours for the same,
// the most likely first: tc netem, Toxiproxy, Pumba, Chaos Mesh, Gremlin, iptables.
// Which of ours is meant follows from where it was typed: a fault, a setting of one,
// a flag, a key of a scenario.
var synonyms = func() map[string][]string {
	all := map[string][]string{}
	for ours, theirs := range map[string]string{
		// faults, and settings of them
		"delay":         "latency lag slow slowness slowdown high-latency network-delay",
		"by":            "latency delay ms",
		"jitter":        "variance deviation",
		"partition":     "blackhole black-hole drop drop-all netsplit net-split network-partition isolate cut offline disconnect timeout",
		"loss":          "packet-loss drop-packets drop-rate lossy",
		"chance":        "probability rate ratio toxicity loss percentage correlation",
		"reset":         "rst reset-peer tcp-reset connection-reset econnreset kill abort reject-with-tcp-reset down-connection limit-data",
		"refuse":        "reject connection-refused econnrefused down closed port-closed",
		"throttle":      "bandwidth rate-limit limit-rate shape slow-link tbf",
		"rate":          "bandwidth bps speed",
		"duplicate":     "duplication dup",
		"corrupt":       "corruption bit-flip bitflip",
		"reorder":       "reordering out-of-order",
		"slice":         "slicer fragment fragmentation",
		"syn-drop":      "syn-flood backlog-full etimedout connect-timeout syn-loss",
		"half-open":     "dead-peer host-down power-off reboot ehostdown",
		"idle-expire":   "idle-timeout idle nat-timeout conntrack-timeout lb-timeout",
		"stall":         "freeze hang zero-window slow-reader hung",
		"mtu-hole":      "mtu pmtu pmtud mss",
		"unreachable":   "icmp no-route ehostunreach enetunreach host-unreachable",
		"linger-reset":  "slow-close linger so-linger",
		"connect-stall": "slow-connect",
		"after":         "idle timeout",
		// flags and keys
		"to":              "port ports dport destination-port target-port host upstream target dest destination dst server remote remote-port service address addr",
		"from":            "source src client source-ip sport",
		"percent":         "probability rate ratio toxicity fraction share percentage",
		"duration":        "time length for period",
		"netns":           "namespace ns network-namespace",
		"pid":             "process",
		"container":       "docker pod podman image",
		"uid":             "user",
		"start-after":     "wait sleep warmup initial-delay",
		"output":          "format output-format",
		"jobs":            "parallel parallelism workers concurrency threads processes",
		"repeat":          "count times iterations retries runs",
		"dry-run":         "check simulate noop preview test",
		"pcap":            "capture tcpdump dump",
		"report":          "junit html output-file result",
		"log-level":       "verbose debug quiet",
		"max-connections": "limit max blast-radius",
		"faults":          "steps schedule toxics experiments actions",
		"fault":           "toxic type kind action",
		"start":           "when begin begins delay after offset",
		"probes":          "checks health healthcheck healthchecks assertions steady-state hypothesis",
		"abort":           "stop-if abort-if stop-when rollback halt",
		"command":         "exec cmd shell script",
		"http":            "url get request",
		"interval":        "every frequency",
		"description":     "comment title",
		"name":            "title id label",
		"run":             "exec start play",
		"inject":          "add attack apply create start toxic",
		"validate":        "check lint verify",
		"init":            "new create template generate",
	} {
		for _, word := range strings.Fields(theirs) {
			all[word] = append(all[word], ours)
		}
	}
	return all
}()

// synonym is our word among names for one of another tool; empty if there is none.
func synonym(typed string, names []string) string {
	typed = strings.ToLower(strings.ReplaceAll(typed, "_", "-"))
	ours := slices.Clone(synonyms[typed])
	slices.SortFunc(ours, func(a, b string) int {
		return cmp.Or(slices.Index(preferred, b)-slices.Index(preferred, a), cmp.Compare(a, b))
	})
	for _, name := range ours {
		if slices.Contains(names, name) {
			return name
		}
	}
	if typed != "" && slices.Contains(names, typed) { // a_name, or A-NAME
		return typed
	}
	return ""
}

// preferred are those of our words, last first, that are meant where several would
// do: a setting of a fault that was named before what is true of any run.
var preferred = []string{"percent", "chance", "to", "rate", "by"}
