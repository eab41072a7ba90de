package toxiproxy

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/toxiproxy/forwarder"
	"github.com/faultctl/faultctl/experiment/toxiproxy/toxics"
	"github.com/faultctl/faultctl/faults"
)

// Runs strikes packets.
type Runs interface {
	// Put has a run of that name do what spec says, from when it returns on. The error
	// of a spec leaves everything as it was.
	Put(ctx context.Context, name string, spec experiment.Spec) error

	// Stop ends a run. Its connections go on.
	Stop(name string)
}

// FaultToxic is a fault of the catalogue as a toxic: its attributes are the settings
// of the fault. Streams pass it untouched: it strikes the packets of the connections
// to the proxy.
type FaultToxic struct {
	toxics.NoopToxic
	fault    string
	settings map[string]any // strings, numbers and booleans
}

// newFault is a fault without settings; nil: there is none of that name.
func newFault(name string) *FaultToxic {
	if _, err := faults.Find(name); err != nil {
		return nil
	}
	return &FaultToxic{fault: name, settings: map[string]any{}}
}

func (f *FaultToxic) clone() *FaultToxic {
	return &FaultToxic{fault: f.fault, settings: maps.Clone(f.settings)}
}

// MarshalJSON implements json.Marshaler.
func (f *FaultToxic) MarshalJSON() ([]byte, error) { return json.Marshal(f.settings) }

// UnmarshalJSON adds settings to those that there are, or changes them; null removes
// one.
func (f *FaultToxic) UnmarshalJSON(text []byte) error {
	var more map[string]any
	if err := json.Unmarshal(text, &more); err != nil {
		return err
	}
	for name, value := range more {
		switch value.(type) {
		case string, float64, bool:
			f.settings[name] = value
		case nil:
			delete(f.settings, name)
		default:
			return fmt.Errorf("%s: it is a string, a number or a boolean", name)
		}
	}
	return nil
}

// spec is the fault with its settings. One that strikes one direction strikes that of
// the toxic's stream, if its settings do not say which.
func (f *FaultToxic) spec(stream forwarder.Stream) (faults.Spec, error) {
	spec := faults.Spec{Name: f.fault}
	kind, err := faults.Find(f.fault)
	if err != nil {
		return spec, err
	}
	m := kind.New()
	for _, name := range slices.Sorted(maps.Keys(f.settings)) {
		value := fmt.Sprint(f.settings[name])
		if n, is := f.settings[name].(float64); is {
			text, _ := json.Marshal(n) // without an exponent where people write none
			value = string(text)
			if faults.Set(kind.New(), name, value+"ms") == nil { // a time, in Toxiproxy's unit
				value += "ms"
			}
		}
		if err := faults.Set(m, name, value); err != nil {
			return spec, err
		}
		spec.Knobs = append(spec.Knobs, [2]string{name, value})
	}
	sided := slices.ContainsFunc(faults.Knobs(m), func(k faults.Knob) bool { return k.Name == "dir" })
	if sided && f.settings["dir"] == nil {
		spec.Knobs = append(spec.Knobs, [2]string{"dir", sender(stream)})
	}
	spec = spec.Canonical()
	_, err = spec.Model()
	return spec, err
}

// sender is the side whose segments a stream is made of.
func sender(s forwarder.Stream) string {
	if s == forwarder.Upstream {
		return faults.Client.String()
	}
	return faults.Server.String()
}

// judge says what is wrong with a toxic, before anything is done about it.
func (s *Server) judge(p *proxy, t *toxic) error {
	spec, err := p.faultOf(t)
	switch {
	case err != nil:
		return &ApiError{err.Error(), http.StatusBadRequest}
	case spec == nil:
		return nil
	case s.Runs == nil:
		return s.noPackets(t.Type)
	}
	return nil
}

func (s *Server) noPackets(what string) error {
	return &ApiError{what + " strikes packets, which takes a right that this process lacks. " + s.Why, http.StatusBadRequest}
}

// faultOf is the fault that does what a toxic says; nil: none does.
func (p *proxy) faultOf(t *toxic) (*faults.Spec, error) {
	var spec faults.Spec
	var err error
	if f, is := t.Toxic.(*FaultToxic); is {
		spec, err = f.spec(t.stream)
	} else if p.transparent() {
		spec, err = onPackets(t.Toxic, t.stream)
	}
	if err != nil || spec.Name == "" {
		return nil, err
	}
	return &spec, nil
}

// applyRun has the run of a toxic do what is to be done now.
func (p *proxy) applyRun(t *toxic) error {
	fault, err := p.faultOf(t)
	if err != nil || fault == nil || !p.Enabled || t.Toxicity <= 0 || p.server.Runs == nil {
		p.server.endRun(t)
		return err
	}
	spec := experiment.Spec{Faults: []faults.Spec{*fault}, AllowIdle: true}
	at := p.Listen
	if p.transparent() {
		at = p.Upstream
	}
	if spec.Target.To, err = ends(at); err != nil {
		return err
	}
	if t.Toxicity < 1 {
		spec.Target.Percent = new(float64(t.Toxicity) * 100)
	}
	if t.run == "" {
		t.run = runName(p.Name, t)
	}
	if err := p.server.Runs.Put(context.Background(), t.run, spec); err != nil {
		p.server.endRun(t)
		return &ApiError{experiment.Report(err, nil).Message, http.StatusBadRequest}
	}
	return nil
}

// endRun ends the run of a toxic, if there is one.
func (s *Server) endRun(t *toxic) {
	if t.run != "" {
		s.Runs.Stop(t.run)
		t.run = ""
	}
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// runName is what the run of a toxic is called.
func runName(proxy string, t *toxic) string {
	name := strings.Trim(notInNames.ReplaceAllString(proxy+"."+t.Name, "-"), ".-")
	return fmt.Sprintf("toxic%d.%s", t.id, name[:min(len(name), 40)])
}

// ends are the service ends of an address: where a proxy listens on all addresses,
// those of this host, since others may have that port too.
func ends(at string) ([]string, error) {
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return nil, err
	}
	if ip, err := netip.ParseAddr(host); host != "" && (err != nil || !ip.IsUnspecified()) {
		return []string{at}, nil
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var to []string
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		switch ip := prefix.Addr(); {
		case err != nil || ip.IsLinkLocalUnicast():
		case ip.IsLoopback() && ip.Is4():
			to = append(to, "127.0.0.0/8:"+port)
		default:
			to = append(to, net.JoinHostPort(ip.String(), port))
		}
	}
	return to, nil
}
