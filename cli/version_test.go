package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/internal/version"
)

func TestVersion(t *testing.T) {
	for _, line := range []string{"version", "--version", "-v"} {
		w := newWorld(t)
		if code := w.faultctl(line); code != exitOK || !strings.HasPrefix(w.out.String(), "faultctl "+version.String()) {
			t.Errorf("%s: exit %d, %s", line, code, &w.out)
		}
	}
	w := newWorld(t)
	var b version.Build
	if w.faultctl("version -o json"); json.Unmarshal(w.out.Bytes(), &b) != nil || b != version.Read() {
		t.Errorf("%s", &w.out)
	}
}
