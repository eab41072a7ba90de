package injector

import (
	"errors"
	"io"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"github.com/faultctl/faultctl/injector/target"
)

// ends are the two ends of a connection.
func (c *connection) ends() (client, server netip.AddrPort) {
	return netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(c.RemoteAddr().String())
}

// TestStrikeOne checks on real connections that one that was not chosen, and one that
// waits for its moment, are reset at their next packet when they are asked for, and that
// one that is spared goes on, whatever is changed later.
func TestStrikeOne(t *testing.T) {
	bothWays(t, func(t *testing.T, bySet bool) {
		ns := kerneltest.NetNS(t)
		i, stop := startInjector(t, ns, bySet, Config{Rules: []Rule{{
			Match: target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}}, Pick: target.Pick{Share: target.ShareOf(0)},
			Faults: []NamedModel{model(t, "reset", "at", "bytes=1000000")},
		}}})
		isReset := func(c *connection) bool {
			c.SetDeadline(time.Now().Add(time.Minute))
			c.Write([]byte("hello"))
			_, err := io.ReadFull(c, make([]byte, 5))
			return errors.Is(err, syscall.ECONNRESET)
		}
		struck, other := connect(t, "127.0.0.1:5432"), connect(t, "127.0.0.2:5432")
		struck.talk()
		other.talk()
		if all := i.Unchosen(0, 10); len(all) != 2 {
			t.Errorf("%v are not chosen", all)
		}
		client, server := struck.ends()
		if when, err := i.Strike(0, client, server); err != nil || when != AtNextPacket {
			t.Fatal(when, err)
		}
		if !isReset(struck) {
			t.Error("it is not reset")
		}
		if when, err := i.Strike(0, client, server); err != nil || when != Already {
			t.Error(when, err)
		}
		if judged(i, other) {
			t.Error("the other one is judged")
		}
		if err := i.SetShare(0, 1); err != nil {
			t.Fatal(err)
		}
		waits := connect(t, "127.0.0.3:5432")
		if !judged(i, waits) || !judged(i, other) {
			t.Error("not all are judged")
		}
		if all := i.Unchosen(0, 10); len(all) != 0 {
			t.Errorf("%v are not chosen", all)
		}
		client, server = other.ends()
		if err := i.Spare(0, client, server); err != nil {
			t.Fatal(err)
		}
		if judged(i, other) {
			t.Error("it is judged although it is spared")
		}
		if err := errors.Join(i.SetShare(0, 0.5), i.SetShare(0, 1), i.Pause(), i.Resume()); err != nil {
			t.Fatal(err)
		}
		if judged(i, other) {
			t.Error("it is judged after changes, although it is spared")
		}
		if when, err := i.Strike(0, client, server); err != nil || when != AtNextPacket {
			t.Fatal(when, err)
		}
		if !isReset(other) {
			t.Error("it was spared once, and is not reset")
		}
		waits.talk()
		client, server = waits.ends()
		if when, err := i.Strike(0, client, server); err != nil || when != AtNextPacket || !isReset(waits) {
			t.Error("the one that waits for its moment is not reset", when, err)
		}
		if _, err := i.Strike(0, server, client); !errors.Is(err, ErrNoConnection) {
			t.Errorf("%v", err)
		}
		if err := errors.Join(i.Pause(), i.Spare(0, client, server)); !errors.Is(err, ErrNotJudging) {
			t.Errorf("%v", err)
		}
		stop()
		if got := kerneltest.Tables(t, ns); len(got) != 0 {
			t.Errorf("tables left: %v", got)
		}
	})
}

// TestSpareKeepsOrder checks that what is held of a connection that is spared leaves at
// once, in its order, and before what comes later.
func TestSpareKeepsOrder(t *testing.T) {
	ns := kerneltest.NetNS(t)
	i, stop := startInjector(t, ns, false, Config{Rules: []Rule{{
		Match:  target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}},
		Faults: []NamedModel{{"hold", &holdModel{Wants: faults.Diversion{All: true, Whole: true, Holds: true}}}},
	}}})
	c := connect(t, "127.0.0.1:5432")
	if err := i.SetModels(0, []NamedModel{{"hold", &holdModel{By: 10 * time.Second, Wants: faults.Diversion{All: true, Whole: true, Holds: true}}}}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for range 20 {
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(20 * time.Millisecond)
	client, server := c.ends()
	if err := i.Spare(0, client, server); err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadFull(c, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	c.talk()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v until the connection went on", took)
	}
	stop()
}
