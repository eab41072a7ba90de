package experiment

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/injector"
)

// TestElsewhere holds that a command whose connections are others' is told so.
func TestElsewhere(t *testing.T) {
	for line, want := range map[string]string{
		"docker exec web curl": " What docker starts is not one of its children: strike the container", "/usr/bin/ssh db": " What ssh starts", "true": "",
	} {
		if got := startedElsewhere(strings.Fields(line)); got != want && (want == "" || !strings.HasPrefix(got, want)) {
			t.Errorf("%s: %q", line, got)
		}
	}
}

// TestAboutNAT holds that a long list of translations is cut.
func TestAboutNAT(t *testing.T) {
	at := netip.MustParseAddrPort
	var many []injector.Translation
	for range 5 {
		many = append(many, injector.Translation{From: at("10.0.0.1:8080"), To: at("172.17.0.2:80")})
	}
	if text := aboutNAT(many); !strings.Contains(text, "and 2 more, which") {
		t.Error(text)
	}
}
