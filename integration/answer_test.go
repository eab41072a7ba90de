package integration

import (
	"testing"
	"time"
)

// longAnswer is an answer of many segments, also on loopback, whose segments are
// the longest.
const longAnswer = 60_000

// TestWholeAnswer checks that a server which closes after its answer has sent all of
// it, however the end of the answer shows: the server pauses, it closes, or the
// client sends its next request.
func TestWholeAnswer(t *testing.T) {
	for fault, end := range map[string]string{"unread-close": "ECONNRESET", "closed-socket:pass-response=true": "EOF"} {
		for _, how := range []string{"pause", "close", "next"} {
			t.Run(fault+"/"+how, func(t *testing.T) {
				everywhere(t, func(t *testing.T, w *testbed) {
					w.inject(fault)
					client, server := w.open()
					client.Timeout(10 * time.Second)
					says(t, "request", client.Send("ping"), server.Recv())("4", "ping")
					if err := server.Pour(longAnswer / 2); err != nil {
						t.Fatal(err)
					}
					time.Sleep(80 * time.Millisecond) // a pause that is no end
					if err := server.Pour(longAnswer / 2); err != nil {
						t.Fatal(err)
					}
					if how == "close" {
						server.Close()
					}
					if err := client.Drain(longAnswer); err != nil {
						t.Fatalf("the answer is not whole: %v", err)
					}
					if how == "next" {
						client.Send("more")
					}
					says(t, "after the answer", client.Recv())(end)
				})
			})
		}
	}
}
