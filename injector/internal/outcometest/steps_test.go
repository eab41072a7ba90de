package outcometest

import (
	"slices"
	"strings"
	"time"

	"github.com/faultctl/faultctl/injector/internal/minirun"
	"golang.org/x/sys/unix"
)

// steps are what the ends of a connection do, one after the other.
type steps []func(w *world)

func connects(want string) func(*world) {
	return func(w *world) { w.expect(w.connect(), want) }
}

// connectsSigned opens a connection whose segments are signed.
func connectsSigned(w *world) {
	w.client, _ = w.Client.Client(w.service.Addr())
	w.t.Cleanup(w.client.Close)
	w.sign(w.listener, w.Client)
	w.sign(w.client, w.Server)
	w.expect(w.client.Connect(w.service), "ok")
	w.accept()
}

// used opens a connection and has one request answered.
func used(w *world) {
	w.connect()
	w.exchange()
}

func idle(d time.Duration) func(*world) {
	return func(*world) { time.Sleep(d) }
}

// patience is how long the client's calls wait from here on.
func patience(d time.Duration) func(*world) {
	return func(w *world) { w.client.Timeout(d) }
}

func sends(request string) func(*world) {
	return func(w *world) { w.client.Send(request) }
}

// asks sends a request, and waits for what the client is told instead of an answer.
func asks(wants ...string) func(*world) {
	return func(w *world) {
		w.client.Send("request")
		if got := w.client.Recv(); !slices.Contains(wants, got) {
			w.t.Errorf("recv() = %s, want one of %v", got, wants)
		}
	}
}

// asked has a request reach the server.
func asked(w *world) {
	w.client.Send("request")
	w.whole(w.server, "request")
}

func serverSends(bytes int) func(*world) {
	return func(w *world) { w.server.Send(strings.Repeat("x", bytes)) }
}

// serverCloses has the server close when the client has.
func serverCloses(w *world) {
	w.server.Recv()
	w.server.Close()
}

func serverClosesFirst(w *world) {
	w.server.Close()
	w.client.Recv()
}

// told has the client wait until it is told of the reset.
func told(w *world) { w.expect(w.client.Recv(), "ECONNRESET") }

func repeat(n int, some ...func(*world)) func(*world) {
	return func(w *world) {
		for range n {
			for _, step := range some {
				step(w)
			}
		}
	}
}

// keepalives has the client's kernel send a keepalive after each second of silence.
func keepalives(w *world) {
	for _, o := range []struct{ level, name, value int }{
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 1}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	} {
		if err := w.client.SetInt(o.level, o.name, o.value); err != nil {
			w.t.Fatal(err)
		}
	}
}

// firewallIn has the host of the run drop every RST in a hook, behind the run's rules.
func firewallIn(hook string) func(*world) {
	return func(w *world) {
		minirun.Shell(w.t, w.node().NS, "nft add table inet fw; nft add chain inet fw c '{ type filter hook "+hook+" priority 0; }'; nft add rule inet fw c tcp flags rst drop")
	}
}

func exchanges(w *world)  { w.exchange() }
func closes(w *world)     { w.close() }
func asksKernel(w *world) { w.askKernel() }
func asksBefore(w *world) { w.askBefore() }
func firewall(w *world)   { w.block() }
