// Package toxiproxy is Toxiproxy's HTTP API on faultctl: proxies that forward
// connections, toxics that strike them as streams, and, where the rights are there,
// every fault as a toxic that strikes their packets. Toxiproxy's clients work
// unchanged; docs/TOXIPROXY.md has what differs.
package toxiproxy

import (
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
)

// Server has the proxies. Set its fields before it is used; any goroutine may call its
// methods then.
type Server struct {
	Seed    uint64       // decides which connections toxics strike
	Runs    Runs         // strikes packets; nil: only streams can be struck
	Why     string       // why Runs is nil, and what to do about it, as a sentence
	Metrics http.Handler // answers /metrics; nil: there is none
	Asked   func()       // is told of each request; nil: nobody is

	// Transparent has all proxies listen nowhere: their toxics strike the packets of
	// connections to the upstream itself. False: only those that listen at their
	// upstream.
	Transparent bool

	mu      sync.Mutex
	proxies map[string]*proxy
	ids     uint64
}

func (s *Server) asked() {
	if s.Asked != nil {
		s.Asked()
	}
}

// lot is how the lot of a connection falls for a toxic: the same for the same seed.
func (s *Server) lot(nth, toxic uint64) float32 {
	x := s.Seed ^ nth*0x9e3779b97f4a7c15 ^ toxic*0xbf58476d1ce4e5b9
	for range 2 { // splitmix64
		x += 0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		x ^= x >> 31
	}
	return float32(x>>40) / (1 << 24)
}

// Close ends everything that the proxies do.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.proxies {
		p.remove()
	}
	s.proxies = nil
}

// Busy reports whether a proxy has a connection.
func (s *Server) Busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.proxies {
		if p.forwarder != nil && p.forwarder.Open() > 0 {
			return true
		}
	}
	return false
}

// get is a proxy; the caller holds mu.
func (s *Server) get(name string) (*proxy, error) {
	if p := s.proxies[name]; p != nil {
		return p, nil
	}
	return nil, errProxyNotFound
}

// put makes a proxy known; the caller holds mu.
func (s *Server) put(p *proxy) {
	if s.proxies == nil {
		s.proxies = map[string]*proxy{}
	}
	s.proxies[p.Name] = p
}

func (s *Server) index(a answer) error {
	s.mu.Lock()
	all := map[string]proxyToxics{}
	for name, p := range s.proxies {
		all[name] = p.shown()
	}
	s.mu.Unlock()
	return a.json(http.StatusOK, all)
}

func (s *Server) reset(a answer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(s.proxies)) {
		if err := s.proxies[name].reset(); err != nil {
			return err
		}
	}
	return a.nothing()
}

func (s *Server) create(a answer) error {
	in := Proxy{Enabled: true}
	if err := a.decode(&in); err != nil {
		return err
	}
	if in.Name == "" {
		return missing("name")
	}
	if in.Upstream == "" {
		return missing("upstream")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proxies[in.Name] != nil {
		return errProxyExists
	}
	p := s.newProxy(in)
	if in.Enabled {
		if err := p.start(); err != nil {
			return err
		}
	}
	s.put(p)
	return a.json(http.StatusCreated, p.shown())
}

func (s *Server) show(a answer, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.get(name)
	if err != nil {
		return err
	}
	return a.json(http.StatusOK, p.shown())
}

func (s *Server) update(a answer, name string) error {
	s.mu.Lock()
	p, err := s.get(name)
	if err != nil {
		s.mu.Unlock()
		return err
	}
	in := Proxy{Listen: p.Listen, Upstream: p.Upstream, Enabled: p.Enabled}
	s.mu.Unlock()
	if err := a.decode(&in); err != nil {
		return err
	}
	listen, err := net.ResolveTCPAddr("tcp", in.Listen) // names may take their time
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, err = s.get(name); err != nil {
		return err
	}
	if p.differs(listen, in.Upstream) {
		p.stop()
		p.Listen, p.Upstream = in.Listen, in.Upstream
	}
	switch {
	case in.Enabled && !p.Enabled:
		if err := p.start(); err != nil {
			return err
		}
	case !in.Enabled && p.Enabled:
		p.stop()
	}
	return a.json(http.StatusOK, p.shown())
}

func (s *Server) remove(a answer, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.get(name)
	if err != nil {
		return err
	}
	p.remove()
	delete(s.proxies, name)
	return a.nothing()
}

func (s *Server) populate(a answer) error {
	made, err := s.Populate(a.r.Body)
	status := http.StatusCreated
	out := struct {
		*ApiError `json:",omitempty"`
		Proxies   []proxyToxics `json:"proxies"`
	}{Proxies: made}
	if err != nil {
		out.ApiError = statusOf(err)
		status = out.StatusCode
	}
	return a.json(status, out)
}

// Populate makes the proxies of a JSON array. One that exists stays as it is if it
// listens there and has the same upstream, and is replaced otherwise. The error is that
// of the first that cannot be made; those before it stay.
func (s *Server) Populate(from io.Reader) (made []proxyToxics, err error) {
	in := []struct {
		Proxy
		Enabled *bool `json:"enabled"`
	}{}
	if err := json.NewDecoder(from).Decode(&in); err != nil {
		return nil, badBody(err)
	}
	for i := range in {
		for _, field := range []struct{ name, value string }{{"name", in[i].Name}, {"upstream", in[i].Upstream}} {
			if field.value == "" {
				return nil, missing(field.name + " at proxy " + itoa(i+1))
			}
		}
	}
	var all []*proxy
	defer func() { // as they are at the end: a name may come twice
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, p := range all {
			made = append(made, p.shown())
		}
	}()
	for i := range in {
		p, err := s.replace(in[i].Proxy, in[i].Enabled == nil || *in[i].Enabled)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return nil, nil
}

// replace makes a proxy, in place of the one of that name if they differ.
func (s *Server) replace(in Proxy, enabled bool) (*proxy, error) {
	listen, unresolved := net.ResolveTCPAddr("tcp", in.Listen)
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.proxies[in.Name]
	if was != nil {
		if unresolved != nil {
			return nil, unresolved
		}
		if !was.differs(listen, in.Upstream) {
			return was, nil
		}
		was.stop()
	}
	p := s.newProxy(in)
	if enabled {
		if err := p.start(); err != nil {
			return nil, err
		}
	}
	if was != nil {
		was.remove()
	}
	s.put(p)
	return p, nil
}
