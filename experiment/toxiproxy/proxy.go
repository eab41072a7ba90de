package toxiproxy

import (
	"fmt"
	"net"
	"slices"
	"sync/atomic"

	"github.com/faultctl/faultctl/experiment/toxiproxy/forwarder"
	"github.com/faultctl/faultctl/experiment/toxiproxy/toxics"
)

// Proxy is a proxy as the API has it.
type Proxy struct {
	Name     string    `json:"name"`
	Listen   string    `json:"listen"` // as it was given, or where it listens
	Upstream string    `json:"upstream"`
	Enabled  bool      `json:"enabled"`
	Logger   *struct{} // Toxiproxy answers it too: always {}
}

// proxyToxics is a proxy with its toxics.
type proxyToxics struct {
	*Proxy
	Toxics []*toxics.ToxicWrapper `json:"toxics"`
}

// proxy is a proxy with what it does. The Server's mutex guards it.
type proxy struct {
	Proxy
	server *Server
	toxics [2][]*toxic // by stream

	forwarder      *forwarder.Forwarder // nil: it is disabled, or transparent
	received, sent [2]atomic.Uint64
}

// toxic is a toxic of a proxy.
type toxic struct {
	toxics.ToxicWrapper
	id     uint64
	stream forwarder.Stream
	run    string // the run that does it; empty: there is none
}

func (s *Server) newProxy(p Proxy) *proxy {
	return &proxy{Proxy: Proxy{Name: p.Name, Listen: p.Listen, Upstream: p.Upstream, Logger: new(struct{})}, server: s}
}

// shown is a copy for an answer.
func (p *proxy) shown() proxyToxics { return proxyToxics{new(p.Proxy), p.shownToxics()} }

func (p *proxy) shownToxics() []*toxics.ToxicWrapper {
	all := []*toxics.ToxicWrapper{}
	for _, ts := range p.toxics {
		for _, t := range ts {
			all = append(all, new(t.ToxicWrapper))
		}
	}
	return all
}

// start enables the proxy.
func (p *proxy) start() error {
	if p.Enabled {
		return nil
	}
	if p.transparent() {
		if p.server.Runs == nil {
			return p.server.noPackets("a proxy that listens at its own upstream")
		}
		p.Enabled = true
		if err := p.apply(); err != nil {
			p.stop()
			return err
		}
		return nil
	}
	f, err := forwarder.Listen(forwarder.Config{
		Listen: p.Listen, Upstream: p.Upstream, Lot: p.server.lot, Received: &p.received, Sent: &p.sent,
	})
	if err != nil {
		return err
	}
	p.forwarder, p.Listen, p.Enabled = f, f.Addr().String(), true
	if err := p.apply(); err != nil {
		p.stop()
		return err
	}
	return nil
}

// stop disables the proxy: it closes the listener and all connections.
func (p *proxy) stop() {
	p.Enabled = false
	if p.forwarder != nil {
		p.forwarder.Close()
		p.forwarder = nil
	}
	p.apply() // it ends runs, and begins none
}

// differs reports whether the proxy is not as it is to be. The error is that of a
// listen address which cannot be resolved.
func (p *proxy) differs(listen *net.TCPAddr, upstream string) bool {
	return p.Listen != listen.String() || p.Upstream != upstream
}

// apply puts the toxics in force. The error is that of a run.
func (p *proxy) apply() error {
	for stream, ts := range p.toxics {
		var all []toxics.Setting
		for _, t := range ts {
			if _, packets := t.Toxic.(*FaultToxic); !packets {
				all = append(all, toxics.Setting{ID: t.id, Toxic: t.Toxic, Toxicity: t.Toxicity})
			}
		}
		if p.forwarder != nil {
			p.forwarder.Set(forwarder.Stream(stream), all)
		}
	}
	for _, ts := range p.toxics {
		for _, t := range ts {
			if err := p.applyRun(t); err != nil {
				return err
			}
		}
	}
	return nil
}

// find is the toxic of that name; nil: there is none. Names are unique in both streams.
func (p *proxy) find(name string) *toxic {
	for _, ts := range p.toxics {
		for _, t := range ts {
			if t.Name == name {
				return t
			}
		}
	}
	return nil
}

// add puts a new toxic in force.
func (p *proxy) add(t *toxic) error {
	if p.find(t.Name) != nil {
		return errToxicExists
	}
	p.toxics[t.stream] = append(p.toxics[t.stream], t)
	if err := p.apply(); err != nil {
		p.drop(t)
		return err
	}
	return nil
}

// drop removes a toxic.
func (p *proxy) drop(t *toxic) {
	p.toxics[t.stream] = slices.DeleteFunc(p.toxics[t.stream], func(o *toxic) bool { return o == t })
	p.server.endRun(t)
	p.apply() // it starts no run
}

// reset enables the proxy, and removes its toxics.
func (p *proxy) reset() error {
	if err := p.start(); err != nil {
		return err
	}
	for _, t := range slices.Concat(p.toxics[0], p.toxics[1]) {
		p.server.endRun(t)
	}
	p.toxics = [2][]*toxic{}
	return p.apply()
}

// remove ends everything that the proxy does.
func (p *proxy) remove() {
	for _, t := range slices.Concat(p.toxics[0], p.toxics[1]) {
		p.server.endRun(t)
	}
	p.toxics = [2][]*toxic{}
	p.stop()
}

func (p *proxy) String() string { return fmt.Sprintf("%s (%s to %s)", p.Name, p.Listen, p.Upstream) }
