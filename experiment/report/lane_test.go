package report

import (
	"fmt"
	"strings"
	"testing"
)

// TestLanes holds that each connection has one timeline, those that were struck
// first, and that there are not more than a page can bear.
func TestLanes(t *testing.T) {
	c := &Case{Start: noon}
	for i := range maxLanes + 5 {
		c.Events = append(c.Events, Event{At: at(i), Kind: "flow", Client: fmt.Sprint("c", i), Server: "s"})
	}
	c.Events = append(c.Events, Event{At: at(500), Kind: "fired", Fault: "reset", Client: "c44", Server: "s", Action: "rst", To: "client", Reason: "reset"})
	for i := range maxMarks + 100 {
		c.Packets = append(c.Packets, Packet{At: at(600 - i%600), Client: "c44", Server: "s", From: "server", Text: "[.]", Fate: "passed"})
	}
	all, cut := lanes(c)
	if len(all) != maxLanes || cut != 5 {
		t.Fatalf("%d lanes, %d cut", len(all), cut)
	}
	l := all[0]
	if l.Client != "c44" || !l.Struck || len(l.Marks) != maxMarks {
		t.Errorf("the first lane is of %s, struck %v, with %d marks", l.Client, l.Struck, len(l.Marks))
	}
	if l.From != "+0.044000 s" || l.To != "+0.600000 s" {
		t.Errorf("it goes from %s to %s", l.From, l.To)
	}
	for i, m := range l.Marks {
		if !strings.HasSuffix(m.X, "%") || len(m.X) > len("100.00%") {
			t.Errorf("mark %d is at %s", i, m.X)
		}
	}
	if one := all[1]; len(one.Marks) != 1 || one.Marks[0].X != "3.00%" || one.From != one.To {
		t.Errorf("a lane of one moment: %+v", one)
	}
}
