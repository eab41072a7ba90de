package policy

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/injector/target"
)

const example = `
rules:
  - users: ["1000", "2000"]
    to: ["10.0.0.0/8:5432", ":8000-8100"]
    faults: [reset, delay]
    duration: 10m
    connections: 100
    percent: 50
  - users: ["3000"]
    elsewhere: true
    files: true
  - users: ["4000"]
    faults: []
`

func ends(t *testing.T, texts ...string) (all []target.Endpoint) {
	for _, text := range texts {
		es, err := target.ParseEndpoints(context.Background(), text, noNames)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, es...)
	}
	return all
}

// TestAllows checks each limit of a rule, from both sides, and that what no rule names is
// forbidden.
func TestAllows(t *testing.T) {
	p, err := Parse("policy.yaml", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	fits := func(change func(*Request)) Request {
		q := Request{UID: 1000, Faults: []string{"reset"}, To: ends(t, "10.1.2.3:5432"), Duration: 10 * time.Minute, Connections: 100, Percent: 50}
		change(&q)
		return q
	}
	for name, c := range map[string]struct {
		change  func(*Request)
		forbids string // a part of why; empty: it is allowed
	}{
		"all that it says":            {func(*Request) {}, ""},
		"the other user of the rule":  {func(q *Request) { q.UID = 2000 }, ""},
		"a user in no rule":           {func(q *Request) { q.UID = 12345678 }, "no rule names"},
		"root":                        {func(q *Request) { *q = Request{UID: 0, Percent: 100, Elsewhere: true, As: "x"} }, ""},
		"another fault":               {func(q *Request) { q.Faults = []string{"delay", "loss"} }, "the fault loss is not allowed"},
		"no fault at all":             {func(q *Request) { q.UID = 4000 }, "allowed: none"},
		"part of a range":             {func(q *Request) { q.To = ends(t, ":8010-8100", "192.0.2.1:8000") }, ""},
		"more than a range":           {func(q *Request) { q.To = ends(t, ":8010-8101") }, "the target :8010-8101 is not within"},
		"a larger network":            {func(q *Request) { q.To = ends(t, "10.0.0.0/7:5432") }, "is not within"},
		"any address":                 {func(q *Request) { q.To = ends(t, ":5432") }, "is not within"},
		"any port":                    {func(q *Request) { q.To = ends(t, "10.1.2.3") }, "is not within"},
		"one of two":                  {func(q *Request) { q.To = ends(t, "10.1.2.3:5432", "11.1.2.3:5432") }, "11.1.2.3/32:5432"},
		"IPv6":                        {func(q *Request) { q.To = ends(t, "[fd00::1]:5432") }, "is not within"},
		"no target":                   {func(q *Request) { q.To = nil }, "a target is demanded"},
		"too long":                    {func(q *Request) { q.Duration++ }, "10m at most"},
		"until it is stopped":         {func(q *Request) { q.Duration = 0 }, "10m at most"},
		"too many connections":        {func(q *Request) { q.Connections = 101 }, "100 connections"},
		"any number of connections":   {func(q *Request) { q.Connections = 0 }, "100 connections"},
		"too large a share":           {func(q *Request) { q.Percent = 51 }, "50% of the connections"},
		"another namespace":           {func(q *Request) { q.Elsewhere = true }, "network namespaces"},
		"a file":                      {func(q *Request) { q.Files = []string{"pcap"} }, "pcap is not allowed"},
		"as somebody else":            {func(q *Request) { q.As = "root" }, "as somebody else"},
		"its own command":             {func(q *Request) { q.Own, q.To, q.Duration, q.Connections, q.Percent = true, nil, 0, 0, 100 }, ""},
		"its own command, as root":    {func(q *Request) { q.Own, q.As = true, "root" }, "as somebody else"},
		"its own command, elsewhere":  {func(q *Request) { q.Own, q.Elsewhere = true, true }, "network namespaces"},
		"a rule without limits":       {func(q *Request) { *q = Request{UID: 3000, Percent: 100, Elsewhere: true, Files: []string{"report"}} }, ""},
		"one without limits, as root": {func(q *Request) { *q = Request{UID: 3000, As: "root"} }, "as somebody else"},
	} {
		err := p.Allows(fits(c.change))
		switch {
		case c.forbids == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.forbids != "" && (err == nil || !strings.Contains(err.Error(), c.forbids)):
			t.Errorf("%s: %v, want %q", name, err, c.forbids)
		}
	}
	if err := (*Policy)(nil).Allows(Request{UID: 1000}); err != nil {
		t.Errorf("no policy: %v", err)
	}
}

// TestUsers checks the ways in which a rule names users, with those that every system has.
func TestUsers(t *testing.T) {
	for text, is := range map[string]bool{`"*"`: true, "daemon": true, `"%daemon"`: true, `"1"`: true, "root": false, `"%root"`: false, "nobody-of-that-name": false, `"%no-such-group"`: false, `"01"`: false} {
		p, err := Parse("p", []byte("rules: [{users: ["+text+"]}]"))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Allows(Request{UID: 1}) == nil; got != is {
			t.Errorf("%s names the user daemon: %v", text, got)
		}
	}
}

// TestStrict checks that nothing in a policy is guessed at.
func TestStrict(t *testing.T) {
	for text, want := range map[string]string{
		"":                                           "",
		"rules: [{users: [a], fault: [x]}]":          "fault",
		"rules: [{to: [':80']}]":                     "users",
		"rules: [{users: []}]":                       "users",
		"rules: [{users: [a], to: [':x']}]":          "to",
		"rules: [{users: [a], to: [db:80]}]":         "names are not looked up",
		"rules: [{users: [a], duration: 5}]":         "duration",
		"rules: [{users: [a], duration: x}]":         "no duration",
		"rules: [{users: [a], percent: 101}]":        "percent",
		"rules: [{users: [a], connections: -1}]":     "connections",
		"rules: [{users: [a], elsewhere: 'yes'}]":    "elsewhere",
		"rules: []\nother: 1":                        "other",
		"rules: [{users: [a]}]\n---\nrules: []":      "",
		"rules: [{users: [a], users: [b]}]":          "",
		"rules: [{users: [a], duration: 0s}]":        "no duration",
		"rules: [{users: [a], to: [':80', ':80-']}]": "to",
		"rules: [{users: [a], connections: 1.5}]":    "connections",
		"{": "",
	} {
		if _, err := Parse("policy.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error about %q", text, err, want)
		}
	}
}

// TestLoad checks whose file counts.
func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if p, err := Load(path); p != nil || err != nil {
		t.Errorf("no file: %v, %v", p, err)
	}
	if err := os.WriteFile(path, []byte(example), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	if os.Getuid() != 0 {
		if err == nil || !strings.Contains(err.Error(), "must belong to root") {
			t.Errorf("a file of another user: %v", err)
		}
		return
	}
	if err != nil {
		t.Error(err)
	}
	if err := os.Chmod(path, 0o664); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "only root may write") {
		t.Errorf("a file that a group may write: %v", err)
	}
}

// TestPageExample checks that the example in the documentation is a policy.
func TestPageExample(t *testing.T) {
	page, err := os.ReadFile("../../docs/PRODUCTION.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	text, _, is := strings.Cut(rest, "```")
	if p, err := Parse("docs/PRODUCTION.md", []byte(text)); !is || err != nil || len(p.rules) != 2 {
		t.Errorf("%v, %v", p, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte(`{"rules":[{"users":["%ops"],"to":["[fd00::]/8:1-2"]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse("policy.yaml", text)
		if (p == nil) == (err == nil) {
			t.Errorf("%v, %v", p, err)
		}
		if p != nil {
			p.Allows(Request{UID: 1000, To: []target.Endpoint{{LowPort: 1, HighPort: 2}}})
		}
	})
}
