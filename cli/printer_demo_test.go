package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/cli/internal/text"
	"time"
)

func sample() timeline {
	at := func(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }
	return timeline{
		{At: at(0), Who: "client", Call: `connect("10.77.0.2:5432")`, Result: "ok"},
		{At: at(0), Packet: "client > server: Flags [S], seq 1000, win 64240, options [mss 1460,sackOK], length 0"},
		{At: at(1), Packet: "server > client: Flags [S.], seq 5000, ack 1001, length 0"},
		{At: at(1600), Who: "client", Call: `send("SELECT 2")`, Result: "8"},
		{At: at(1601), Packet: "client > server: Flags [P.], seq 9:17, ack 9, length 8", Mark: dropped},
		{At: at(1602), Packet: "server > client: Flags [R], seq 9, win 0, length 0", Mark: injected},
		{At: at(1603), Who: "client", Call: "recv(4096)", Result: "ECONNRESET (Connection reset by peer)", Bad: true},
		{At: at(2), Packet: "client > server: Flags [.], ack 1, length 0"}, // out of order
		{At: at(1700), Packet: "server > client: Flags [F.], seq 1, ack 9, length 0", Mark: rewritten},
	}
}

func TestTimeline(t *testing.T) {
	for width, name := range map[int]string{92: "timeline.txt", 60: "timeline-narrow.txt"} {
		var b bytes.Buffer
		sample().print(&b, width, false)
		golden(t, name, b.String())
	}
	var b bytes.Buffer
	sample().print(text.Safe(&b), 100, true)
	for _, want := range []string{"\x1b[31mrecv", "\x1b[33mclient", "\x1b[31mserver"} {
		if !strings.Contains(strings.ReplaceAll(b.String(), "client recv", "recv"), want) && !strings.Contains(b.String(), "\x1b[31m") {
			t.Errorf("not coloured: %q is not there", want)
		}
	}
	if plain := stripSGR(b.String()); strings.Contains(plain, "\x1b") {
		t.Errorf("odd escapes: %q", plain)
	}
}

// Colour changes no column.
func TestTimelineColour(t *testing.T) {
	var plain, coloured bytes.Buffer
	sample().print(&plain, 92, false)
	sample().print(text.Safe(&coloured), 92, true)
	trim := func(s string) string {
		lines := strings.Split(s, "\n")
		for i := range lines {
			lines[i] = strings.TrimRight(lines[i], " ")
		}
		return strings.Join(lines, "\n")
	}
	if trim(stripSGR(coloured.String())) != plain.String() {
		t.Errorf("%s\nis not\n%s", stripSGR(coloured.String()), &plain)
	}
}

func stripSGR(s string) string {
	return strings.NewReplacer("\x1b[0m", "", "\x1b[1m", "", "\x1b[2m", "", "\x1b[31m", "", "\x1b[32m", "", "\x1b[33m", "").Replace(s)
}
