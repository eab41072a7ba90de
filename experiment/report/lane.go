package report

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// lane is one connection of a case: its timeline, and what was done to it.
type lane struct {
	Client, Server string
	From, To       string // the time of day of the first and the last moment
	LineX, LineTo  string // where on the axis that is
	Marks          []mark // on the timeline
	Events         []Event
	Packets        []packetLine
	Struck         bool // a fault acted on it

	first, last time.Time
}

// mark is something on a timeline. A packet of the client is drawn above the
// line, one of the server below it.
type mark struct {
	X     string // per cent of the width
	Class string // what it is, for its colour and shape
	Up    bool
	Title string
}

// packetLine is a packet in the list below a timeline.
type packetLine struct {
	Packet
	Since   string
	ToRight bool // from the client to the server
}

const (
	maxLanes = 40  // connections shown of a case: first those that were struck
	maxMarks = 400 // marks on one timeline
)

type ends struct{ client, server string }

// lanes sorts what happened in a case by connection, on one axis of time.
func lanes(c *Case) (all []lane, gs []group, on axis, cut int) {
	index := map[ends]int{}
	at := func(client, server string) *lane {
		i, known := index[ends{client, server}]
		if !known {
			i = len(all)
			index[ends{client, server}] = i
			all = append(all, lane{Client: client, Server: server})
		}
		return &all[i]
	}
	for _, e := range c.Events {
		if e.Client != "" {
			l := at(e.Client, e.Server)
			l.Events = append(l.Events, e)
			l.Struck = l.Struck || e.Kind == "fired"
		}
	}
	for _, p := range c.Packets {
		l := at(p.Client, p.Server)
		l.Packets = append(l.Packets, packetLine{p, exactly(c.Start, p.At), p.From == "client"})
	}
	slices.SortStableFunc(all, func(a, b lane) int { return cmp.Compare(order(a), order(b)) })
	for i := range all {
		all[i].first, all[i].last = all[i].span()
	}
	gs = groups(all)
	if len(all) > maxLanes {
		all, cut = all[:maxLanes], len(all)-maxLanes
	}
	var first, last time.Time
	for _, l := range all {
		if first.IsZero() || l.first.Before(first) {
			first = l.first
		}
		if l.last.After(last) {
			last = l.last
		}
	}
	if len(all) > 0 {
		on = newAxis(first, last)
	}
	for i := range all {
		all[i].draw(c.Start, &on)
	}
	return all, gs, on, cut
}

// order puts the connections that were struck first.
func order(l lane) int {
	if l.Struck {
		return 0
	}
	return 1
}

// draw lays the events and packets of l along the axis.
func (l *lane) draw(start time.Time, on *axis) {
	l.From, l.To = clock(l.first), clock(l.last)
	l.LineX, l.LineTo = on.place(l.first), on.place(l.last)
	place := on.place
	slices.SortStableFunc(l.Packets, func(a, b packetLine) int { return a.At.Compare(b.At) })
	for _, p := range l.Packets {
		title := p.Since + "  " + p.From + ": " + p.Text
		if p.Comment != "" {
			title += "\n" + p.Comment
		}
		l.Marks = append(l.Marks, mark{X: place(p.At), Class: p.Fate, Up: p.ToRight, Title: title})
	}
	for _, e := range l.Events {
		title := since(start, e.At) + "  chosen"
		if e.Kind == "fired" {
			title = fmt.Sprintf("%s  %s: %s to %s, %s", since(start, e.At), e.Fault, e.Action, e.To, e.Reason)
		} else if e.Kind == "outcome" {
			title = fmt.Sprintf("%s  %s: %s", since(start, e.At), e.Fault, e.Reason)
		}
		l.Marks = append(l.Marks, mark{X: place(e.At), Class: e.Kind, Title: title})
	}
	if len(l.Marks) > maxMarks {
		l.Marks = l.Marks[len(l.Marks)-maxMarks:]
	}
}

// span returns when the first and the last thing of a lane happened.
func (l *lane) span() (first, last time.Time) {
	take := func(t time.Time) {
		if first.IsZero() || t.Before(first) {
			first = t
		}
		if t.After(last) {
			last = t
		}
	}
	for _, e := range l.Events {
		take(e.At)
	}
	for _, p := range l.Packets {
		take(p.At)
	}
	return first, last
}
