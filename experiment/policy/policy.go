// Package policy reads the file in which whoever runs a shared host says what may be
// struck there, how long, and by whom, and holds runs to it (docs/PRODUCTION.md).
package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/experiment/document"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/words"
)

// File is where the policy of a host is.
const File = "/etc/faultctl/policy.yaml"

// mostBytes is how long a policy may be.
const mostBytes = 1 << 20

// A Policy says who may do what. The first rule that names a user is that user's; who is
// in none may do nothing.
type Policy struct{ rules []rule }

// rule is a rule as the file has it.
type rule struct {
	Users       []string `json:"users"`
	To          []string `json:"to"`
	Faults      []string `json:"faults"`
	Duration    string   `json:"duration"`
	Connections uint64   `json:"connections"`
	Percent     *float64 `json:"percent"`
	Elsewhere   bool     `json:"elsewhere"`
	Files       bool     `json:"files"`

	to       []target.Endpoint
	duration time.Duration
}

// schema is what a policy may hold.
var schema = document.Compile([]byte(`{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object", "additionalProperties": false, "required": ["rules"],
  "properties": {"rules": {"type": "array", "items": {
    "type": "object", "additionalProperties": false, "required": ["users"],
    "properties": {
      "users": {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
      "to": {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
      "faults": {"type": "array", "items": {"type": "string", "minLength": 1}},
      "duration": {"type": "string", "minLength": 1},
      "connections": {"type": "integer", "minimum": 1},
      "percent": {"type": "number", "minimum": 0, "maximum": 100},
      "elsewhere": {"type": "boolean"},
      "files": {"type": "boolean"}
    }}}}}`))

// Load reads the policy of a host. It is nil if there is no such file. A file that others
// than root could have written is an error, as is one that says anything unknown.
func Load(path string) (*Policy, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 || info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("%s must belong to root, and only root may write to it", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, mostBytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > mostBytes:
		return nil, fmt.Errorf("%s is longer than 1 MiB", path)
	}
	return Parse(path, text)
}

// Parse reads a policy. file is what problems call it. The error is document.Problems.
func Parse(file string, text []byte) (*Policy, error) {
	d, err := document.Read("policy", file, text)
	if err != nil {
		return nil, err
	}
	if problems := schema.Check(d); len(problems) > 0 {
		return nil, problems
	}
	var body struct {
		Rules []rule `json:"rules"`
	}
	tree, err := json.Marshal(d.Tree)
	if err == nil {
		err = json.Unmarshal(tree, &body)
	}
	if err != nil {
		return nil, document.Problems{d.Problem(nil, "%v", err)}
	}
	var problems document.Problems
	for i := range body.Rules {
		r, at := &body.Rules[i], []string{"rules", strconv.Itoa(i)}
		for _, text := range r.To {
			ends, err := target.ParseEndpoints(context.Background(), text, noNames)
			if err != nil {
				problems = append(problems, d.Problem(append(at, "to"), "%q: %v: write [ADDRESS|CIDR]:PORTS; names are not looked up", text, err))
			}
			r.to = append(r.to, ends...)
		}
		if r.Duration != "" {
			if r.duration, err = words.ParseDuration(r.Duration); err != nil || r.duration <= 0 {
				problems = append(problems, d.Problem(append(at, "duration"), "%q is no duration above 0, such as 10m", r.Duration))
			}
		}
	}
	if len(problems) > 0 {
		return nil, problems.InOrder()
	}
	return &Policy{body.Rules}, nil
}

// noNames is a target.Resolver: what a name stands for is up to whoever runs the name
// server.
func noNames(context.Context, string) ([]netip.Addr, error) {
	return nil, errors.New("it is a name")
}

// A Request is what somebody wants to do.
type Request struct {
	UID uint32

	Faults      []string          // names
	To          []target.Endpoint // the service ends; none: any
	Own         bool              // only connections of a command that the run starts
	Duration    time.Duration     // 0: until it is stopped
	Connections uint64            // as many at most; 0: any number
	Percent     float64           // of the connections
	Elsewhere   bool              // in another network namespace
	As          string            // the user who is to run a command, if the run says one
	Files       []string          // flags that have files written or addresses served
}

// Allows returns why the policy forbids a request, and nil if it allows it. Root itself
// may do anything, because root can change the policy. A nil Policy allows everything.
func (p *Policy) Allows(q Request) error {
	if p == nil || q.UID == 0 {
		return nil
	}
	r := p.of(q.UID)
	if r == nil {
		return fmt.Errorf("no rule names %s", nameOf(q.UID))
	}
	for _, f := range q.Faults {
		if r.Faults != nil && !slices.Contains(r.Faults, f) {
			return fmt.Errorf("the fault %s is not allowed to %s; allowed: %s", f, nameOf(q.UID), listed(r.Faults))
		}
	}
	switch {
	case q.As != "":
		return errors.New("nobody may run a command as somebody else (user)")
	case len(q.Files) > 0 && !r.Files:
		return fmt.Errorf("%s is not allowed: files are written with root's rights", strings.Join(q.Files, ", "))
	case q.Elsewhere && !r.Elsewhere:
		return errors.New("other network namespaces are not allowed (netns, pid, container)")
	case q.Own:
		return nil
	case r.duration > 0 && (q.Duration == 0 || q.Duration > r.duration):
		return fmt.Errorf("a run may last %s at most: say a duration", words.ShortDuration(r.duration))
	case r.Connections > 0 && (q.Connections == 0 || q.Connections > r.Connections):
		return fmt.Errorf("a run may choose %d connections at most: say max-connections", r.Connections)
	case r.Percent != nil && q.Percent > *r.Percent:
		return fmt.Errorf("a run may choose %v%% of the connections at most: say percent", *r.Percent)
	case r.To != nil && len(q.To) == 0:
		return fmt.Errorf("a target is demanded, within %s", strings.Join(r.To, " "))
	}
	for _, e := range q.To {
		if r.To != nil && !slices.ContainsFunc(r.to, func(allowed target.Endpoint) bool { return within(e, allowed) }) {
			return fmt.Errorf("the target %s is not within %s", inWords(e), strings.Join(r.To, " "))
		}
	}
	return nil
}

// of returns the rule of a user, or nil.
func (p *Policy) of(uid uint32) *rule {
	for i := range p.rules {
		if slices.ContainsFunc(p.rules[i].Users, func(name string) bool { return means(name, uid) }) {
			return &p.rules[i]
		}
	}
	return nil
}

// means reports whether a name in a policy is that of a user: *, a name, a number, or
// %GROUP for the members of a group.
func means(name string, uid uint32) bool {
	id := strconv.FormatUint(uint64(uid), 10)
	if name == "*" || name == id {
		return true
	}
	if group, is := strings.CutPrefix(name, "%"); is {
		u, err := user.LookupId(id)
		if err != nil {
			return false
		}
		g, err := user.LookupGroup(group)
		if err != nil {
			return false
		}
		ids, err := u.GroupIds()
		return err == nil && slices.Contains(ids, g.Gid)
	}
	u, err := user.Lookup(name)
	return err == nil && u.Uid == id
}

// within reports whether everything that e names is named by allowed.
func within(e, allowed target.Endpoint) bool {
	if !allowed.AnyPort() && (e.AnyPort() || e.LowPort < allowed.LowPort || e.HighPort > allowed.HighPort) {
		return false
	}
	if !allowed.Prefix.IsValid() {
		return true
	}
	return e.Prefix.IsValid() && allowed.Prefix.Bits() <= e.Prefix.Bits() && allowed.Prefix.Contains(netip.PrefixFrom(e.Prefix.Addr(), e.Prefix.Bits()).Masked().Addr())
}

// inWords is an end as people write it.
func inWords(e target.Endpoint) string {
	host, ports := "", "*"
	if e.Prefix.IsValid() {
		host = e.Prefix.String()
	}
	switch {
	case e.AnyPort():
	case e.LowPort == e.HighPort:
		ports = strconv.Itoa(int(e.LowPort))
	default:
		ports = fmt.Sprintf("%d-%d", e.LowPort, e.HighPort)
	}
	return host + ":" + ports
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// nameOf is the name of a user, or the number.
func nameOf(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "the user " + id
}
