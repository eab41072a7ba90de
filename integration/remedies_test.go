package integration

import (
	"testing"
	"time"

	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

// keepalive turns keepalive on, with probes after that many seconds of silence,
// at the same interval, and up to count unanswered ones.
func keepalive(t *testing.T, a *lab.App, seconds, count int) {
	t.Helper()
	for _, o := range [][3]int{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, count},
	} {
		if err := a.SetInt(o[0], o[1], o[2]); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRemedies checks the remedies against devices that forget idle flows, with
// shorter times: a heartbeat, or TCP keepalive every 2 s, keeps a flow alive if
// the limit is longer, and keepalive does so only where it counts and passes. The
// real limit of 300 s, with heartbeats below and above it, is in
// faults/testdata/idle-expire-carrier-heartbeat.trace.
func TestRemedies(t *testing.T) {
	for name, tc := range map[string]struct {
		fault     string
		heartbeat time.Duration // between requests; 0: none
		keepalive int           // seconds between probes; 0: none
		dead      string        // the result of the client's last read; empty: the connection survives
	}{
		"nothing":                            {fault: "idle-expire:after=5s", dead: "ECONNRESET"},
		"heartbeat below the limit":          {fault: "idle-expire:after=5s", heartbeat: 2 * time.Second},
		"heartbeat above the limit":          {fault: "idle-expire:after=5s", heartbeat: 7 * time.Second, dead: "ECONNRESET"},
		"keepalive where it counts":          {fault: "idle-expire:after=5s", keepalive: 2},
		"keepalive where it does not count":  {fault: "idle-expire:after=5s,keepalives=ignore", keepalive: 2, dead: "ECONNRESET"},
		"keepalive where it does not pass":   {fault: "keepalive-drop", keepalive: 2, dead: "ETIMEDOUT"},
		"heartbeat where keepalive does not": {fault: "keepalive-drop", heartbeat: time.Second, keepalive: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, v6 := range []bool{false, true} {
				t.Run(map[bool]string{false: "IPv4", true: "IPv6"}[v6], func(t *testing.T) {
					t.Parallel()
					w := newTestbed(t, atRouter, v6)
					w.inject(tc.fault)
					client, server := w.open()
					healthy(t, "before", client, server)
					if tc.keepalive > 0 {
						keepalive(t, client, tc.keepalive, 2)
					}
					if tc.keepalive > 0 && tc.dead != "" { // the probes detect it
						says(t, "reader", client.Recv())(tc.dead)
						return
					}
					pulse := tc.heartbeat
					if pulse == 0 {
						pulse = 8 * time.Second // silence for that long
					}
					for end := time.Now().Add(8 * time.Second); time.Now().Before(end); {
						pause(pulse)
						if tc.dead == "" {
							says(t, "beat", client.Send("ping"), server.Recv(), server.Send("pong"), client.Recv())("4", "ping", "4", "pong")
						} else {
							client.Send("ping")
							break
						}
					}
					if tc.dead == "" {
						healthy(t, "after", client, server)
					} else if got := client.Recv(); got != tc.dead {
						t.Errorf("the client reads %s, want %s", got, tc.dead)
					}
				})
			}
		})
	}
}
