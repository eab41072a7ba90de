package toxiproxy

import (
	"fmt"
	"strconv"

	"github.com/faultctl/faultctl/experiment/toxiproxy/forwarder"
	"github.com/faultctl/faultctl/experiment/toxiproxy/toxics"
	"github.com/faultctl/faultctl/faults"
)

// transparent reports whether the proxy listens nowhere: its toxics strike the packets
// of connections to the upstream itself.
func (p *proxy) transparent() bool {
	return p.server.Transparent || p.Listen != "" && p.Listen == p.Upstream
}

// onPackets is the fault that does to packets what a toxic does to streams. Its Name
// is empty if there is nothing to do.
func onPackets(t toxics.Toxic, stream forwarder.Stream) (spec faults.Spec, err error) {
	set := func(name string, knobs ...string) {
		spec.Name = name
		for i := 0; i < len(knobs); i += 2 {
			spec.Knobs = append(spec.Knobs, [2]string{knobs[i], knobs[i+1]})
		}
	}
	ms := func(n int64) string { return strconv.FormatInt(n, 10) + "ms" }
	side := sender(stream)
	switch t := t.(type) {
	case *toxics.NoopToxic:
	case *toxics.LatencyToxic:
		if t.Latency > 0 || t.Jitter > 0 {
			set("delay", "by", ms(t.Latency), "jitter", ms(t.Jitter), "dir", side)
		}
	case *toxics.BandwidthToxic:
		if t.Rate <= 0 {
			set("partition", "dir", side)
		} else {
			set("throttle", "rate", strconv.FormatInt(t.Rate*8, 10)+"kbit", "dir", side)
		}
	case *toxics.SlicerToxic:
		if t.AverageSize > 0 {
			set("slice", "size", strconv.Itoa(t.AverageSize), "gap", strconv.Itoa(t.Delay)+"us", "dir", side)
		}
	case *toxics.TimeoutToxic:
		if t.Timeout > 0 {
			return spec, fmt.Errorf("timeout closes a connection after a time only where the proxy listens; here its timeout is 0, or the type is half-open or hang")
		}
		set("partition", "dir", side)
	case *toxics.ResetToxic:
		if t.Timeout > 0 {
			return spec, fmt.Errorf("reset_peer waits for a time only where the proxy listens; here its timeout is 0, or the type is reset")
		}
		set("reset", "at", "now", "other", "reset")
	case *toxics.SlowCloseToxic:
		return spec, fmt.Errorf("slow_close needs a proxy that listens: no packet fault is a late end of a stream")
	case *toxics.LimitDataToxic:
		return spec, fmt.Errorf("limit_data needs a proxy that listens: packets end where segments do; reset with at=bytes=%d comes near", t.Bytes)
	}
	return spec, nil
}
