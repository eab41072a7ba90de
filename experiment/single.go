package experiment

import (
	"net/netip"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/injector"
)

// StrikeBy has the faults strike one connection, whether it was chosen or not, and says
// when they do: see injector.Injector.Strike. Its event says who asked for it; nil is the
// program itself. The error is ErrEnded, or that of the injector.
func (r *Run) StrikeBy(by *event.Actor, client, server netip.AddrPort) (when injector.When, err error) {
	err = r.single(func(e Engine) error { when, err = e.Strike(0, client, server); return err })
	if err == nil {
		r.emit(r.sys.Now(), event.Picked{Flow: event.Ends{Client: client.String(), Server: server.String()}, Moment: when.String(), By: by})
	}
	return when, err
}

// SpareBy has the faults leave one connection alone until it ends, or StrikeBy is called
// for it: see injector.Injector.Spare. Its event says who asked for it; nil is the
// program itself. The error is ErrEnded, or that of the injector.
func (r *Run) SpareBy(by *event.Actor, client, server netip.AddrPort) error {
	err := r.single(func(e Engine) error { return e.Spare(0, client, server) })
	if err == nil {
		r.emit(r.sys.Now(), event.Spared{Flow: event.Ends{Client: client.String(), Server: server.String()}, By: by})
	}
	return err
}

// single does something about one connection.
func (r *Run) single(do func(Engine) error) error {
	r.change.Lock()
	defer r.change.Unlock()
	if r.over() {
		return ErrEnded
	}
	r.mu.Lock()
	engine := r.engine
	r.mu.Unlock()
	if engine == nil {
		return injector.ErrNotJudging
	}
	return do(engine)
}

// Unchosen lists connections that belong to the target and were not chosen, at most limit
// of them: see injector.Injector.Unchosen.
func (r *Run) Unchosen(limit int) []event.Ends {
	r.mu.Lock()
	engine := r.engine
	r.mu.Unlock()
	if engine == nil {
		return nil
	}
	var all []event.Ends
	for _, f := range engine.Unchosen(0, limit) {
		all = append(all, event.Ends(f))
	}
	return all
}
