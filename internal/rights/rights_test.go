package rights

import (
	"strings"
	"testing"
)

// TestAdvice checks that nobody is told to do what they have done.
func TestAdvice(t *testing.T) {
	for name, c := range map[string]struct {
		r         Rights
		says, not string
	}{
		"user":                      {Rights{}, "sudo", "--cap-add"},
		"user in a container":       {Rights{Container: true}, "--user 0 --cap-add NET_ADMIN", "unshare"},
		"root without capabilities": {Rights{Root: true}, "lacks CAP_NET_ADMIN and CAP_NET_RAW", "sudo"},
		"root of a container":       {Rights{Root: true, Container: true, NetRaw: true}, "lacks CAP_NET_ADMIN: start the container with --cap-add", "sudo"},
		"two capabilities":          {Rights{Root: true, Container: true, NetAdmin: true, NetRaw: true}, "--network container:NAME", "--cap-add"},
		"all":                       {Rights{Root: true, NetAdmin: true, NetRaw: true, SysAdmin: true}, "security module", "sudo"},
	} {
		advice := c.r.Advice()
		if !strings.Contains(advice, c.says) || strings.Contains(advice, c.not) || strings.Contains(advice, "setcap") {
			t.Errorf("%s: %s", name, advice)
		}
		if c.r.Root && strings.Contains(c.r.NamespaceAdvice(), "sudo") {
			t.Errorf("%s, about namespaces: %s", name, c.r.NamespaceAdvice())
		}
	}
	if (Rights{FromFile: true, ForAll: true}).Danger() == "" || (Rights{FromFile: true}).Danger() != "" {
		t.Error("a program with capabilities for everybody is a danger, and no other")
	}
	if own := Own(); own.Root && own.FromFile {
		t.Errorf("%+v", own)
	}
}
