package toxiproxy

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/experiment/toxiproxy/forwarder"
	"github.com/faultctl/faultctl/experiment/toxiproxy/toxics"
)

func itoa(n int) string { return strconv.Itoa(n) }

func (s *Server) toxicIndex(a answer, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.get(name)
	if err != nil {
		return err
	}
	return a.json(http.StatusOK, p.shownToxics())
}

func (s *Server) toxicCreate(a answer, name string) error {
	if _, err := s.proxyNow(name); err != nil {
		return err
	}
	t, err := readToxic(a.r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	p, gone := s.get(name)
	switch {
	case gone != nil:
		return gone
	case t != nil && p.find(t.Name) != nil: // before what is wrong with its attributes
		return errToxicExists
	case err != nil:
		return err
	}
	s.ids++
	t.id = s.ids
	if err := s.judge(p, t); err != nil {
		return err
	}
	if err := p.add(t); err != nil {
		return err
	}
	return a.json(http.StatusOK, &t.ToxicWrapper)
}

// proxyNow is a proxy as it is now: its name and upstream do not change.
func (s *Server) proxyNow(name string) (*proxy, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.get(name)
}

// readToxic reads a new toxic. The toxic is not nil if only its attributes are wrong.
func readToxic(body io.Reader) (*toxic, error) {
	var read bytes.Buffer
	t := &toxic{ToxicWrapper: toxics.ToxicWrapper{Stream: "downstream", Toxicity: 1, Toxic: new(toxics.NoopToxic)}}
	if err := json.NewDecoder(io.TeeReader(body, &read)).Decode(&t.ToxicWrapper); err != nil {
		return nil, badBody(err)
	}
	switch strings.ToLower(t.Stream) {
	case "upstream":
		t.stream = forwarder.Upstream
	case "downstream":
		t.stream = forwarder.Downstream
	default:
		return nil, errStream
	}
	if t.Name == "" {
		t.Name = t.Type + "_" + t.Stream
	}
	if t.Toxic = toxics.New(t.Type); t.Toxic == nil {
		fault := newFault(t.Type)
		if fault == nil {
			return nil, errToxicType
		}
		t.Toxic = fault
	}
	// Only now it is known which attributes there are.
	attributes := struct {
		Attributes any `json:"attributes"`
	}{t.Toxic}
	if err := json.NewDecoder(&read).Decode(&attributes); err != nil {
		return t, badBody(err)
	}
	return t, nil
}

func (s *Server) toxicShow(a answer, name, toxicName string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, t, err := s.getToxic(name, toxicName)
	if err != nil {
		return err
	}
	return a.json(http.StatusOK, &t.ToxicWrapper)
}

// getToxic is a toxic and its proxy; the caller holds mu.
func (s *Server) getToxic(name, toxicName string) (*proxy, *toxic, error) {
	p, err := s.get(name)
	if err != nil {
		return nil, nil, err
	}
	if t := p.find(toxicName); t != nil {
		return p, t, nil
	}
	return nil, nil, errToxicNotFound
}

func (s *Server) toxicUpdate(a answer, name, toxicName string) error {
	body, unread := io.ReadAll(a.r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	p, t, err := s.getToxic(name, toxicName)
	if err == nil && unread != nil {
		err = badBody(unread)
	}
	if err != nil {
		return err
	}
	// A copy is changed: it is in force whole or not at all.
	next := *t
	next.Toxic = copied(t.Toxic)
	changes := struct {
		Attributes any     `json:"attributes"`
		Toxicity   float32 `json:"toxicity"`
	}{next.Toxic, t.Toxicity}
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&changes); err != nil {
		return badBody(err)
	}
	next.Toxicity = changes.Toxicity
	if err := s.judge(p, &next); err != nil {
		return err
	}
	was := *t
	*t = next
	if err := p.apply(); err != nil {
		*t = was
		p.apply() // as it was in force before
		return err
	}
	return a.json(http.StatusOK, &t.ToxicWrapper)
}

// copied is a toxic with the same settings.
func copied(t toxics.Toxic) toxics.Toxic {
	if f, is := t.(*FaultToxic); is {
		return f.clone()
	}
	c := reflect.New(reflect.TypeOf(t).Elem())
	c.Elem().Set(reflect.ValueOf(t).Elem())
	return c.Interface().(toxics.Toxic)
}

func (s *Server) toxicRemove(a answer, name, toxicName string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, t, err := s.getToxic(name, toxicName)
	if err != nil {
		return err
	}
	p.drop(t)
	return a.nothing()
}
