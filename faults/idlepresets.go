package faults

import (
	"fmt"
	"strings"
	"time"

	"github.com/faultctl/faultctl/internal/words"
)

// Preset is the idle timer of a real device.
type Preset struct {
	Name   string        `json:"name"`
	After  time.Duration `json:"-"`
	Then   string        `json:"then"`
	Source string        `json:"source"` // where time and way are documented

	// Keepalives says whether TCP keepalive probes keep the flow alive, as the knob
	// does. They do so with a device that looks at packets (NAT, firewall, network
	// load balancer). A proxy ends TCP itself: its kernel answers the probes, and its
	// timer sees only data.
	Keepalives string `json:"keepalives"`
}

// Whether keepalive probes keep a flow alive.
const (
	counted = "count"
	ignored = "ignore"
)

// Presets are the devices that idle-expire knows, with what their makers or
// users document. What they do exactly on the wire is theirs.
var Presets = []Preset{
	{"aws-nlb", 350 * time.Second, rstNext, "ELB network guide, connection idle timeout: 350 s; a RST for the next data. TCP keepalive packets restart it", counted},
	{"aws-natgw", 350 * time.Second, insideOnly, "VPC guide, NAT gateway: 350 s; a RST to the inside host that goes on, no FIN", counted},
	{"aws-alb", 60 * time.Second, finBoth, "ELB application guide, idle timeout: 60 s without a byte of data; a proxy closes", ignored},
	{"aws-sg-nitro6", 350 * time.Second, silent, "EC2 connection tracking on Nitro v6: 350 s; silent", counted},
	{"azure-lb", 4 * time.Minute, silent, "Azure Load Balancer, TCP idle timeout: 4 min; silent", counted},
	{"azure-lb-reset", 4 * time.Minute, rstBoth, "Azure Load Balancer with TCP reset: 4 min; a RST to both ends at the timeout", counted},
	{"azure-natgw", 4 * time.Minute, rstNext, "Azure NAT gateway: 4 min; a RST for any segment of an unknown flow", counted},
	{"gcp-vpc", 10 * time.Minute, silent, "GCP VPC firewall connection tracking: 10 min; silent", counted},
	{"gcp-nat", 20 * time.Minute, silent, "GCP Cloud NAT, established: 1200 s; the mapping goes silently", counted},
	{"f5", 300 * time.Second, rstBoth, "F5 BIG-IP, TCP profile: 300 s, reset on timeout: a RST to both ends", counted},
	{"ipvs", 15 * time.Minute, rstNext, "Linux IPVS (ip_vs_proto_tcp.c): 900 s; unknown segments fall to the local stack", counted},
	{"asa", time.Hour, silent, "Cisco ASA, timeout conn: 1 h; removed silently", counted},
	{"srx", 30 * time.Minute, silent, "Juniper SRX: 1800 s; silent, later segments without SYN are dropped", counted},
	{"paloalto", time.Hour, silent, "Palo Alto PAN-OS session timeouts: 3600 s; aged out silently", counted},
	{"envoy", time.Hour, finBoth, "Envoy tcp_proxy idle_timeout: 1 h; a proxy closes", ignored},
	{"haproxy", 50 * time.Second, finBoth, "HAProxy, typical timeout client and server: 50 s; a proxy closes", ignored},
	{"nginx", 75 * time.Second, finBoth, "nginx keepalive_timeout: 75 s; a proxy closes", ignored},
	{"conntrack", 5 * 24 * time.Hour, silent, "Linux nf_conntrack_tcp_timeout_established: 432000 s; silent", counted},
	{"carrier", 5 * time.Minute, rstNext, "mobile networks: signalling is reclaimed after some 5 min; the server's next message earns a RST", counted},
	{"apns", 5 * time.Minute, rstNext, "push services: the first write succeeds, the second says that the connection was reset", counted},
}

// FindPreset returns the preset of that name. The error suggests the nearest.
func FindPreset(name string) (Preset, error) {
	names := make([]string, len(Presets))
	for i, p := range Presets {
		if p.Name == name {
			return p, nil
		}
		names[i] = p.Name
	}
	near := words.DidYouMean(name, names)
	if near == "" {
		near = ": there are " + strings.Join(names, ", ")
	}
	return Preset{}, fmt.Errorf("unknown device %q%s", name, near)
}
