package cli

import (
	"strings"
	"testing"

	"github.com/faultctl/faultctl/injector"
)

func TestDoctor(t *testing.T) {
	w := newWorld(t)
	features := []injector.Feature{
		{Name: "linux", OK: true, Needed: true, Detail: "Linux 6.18", Remedy: "unseen"},
		{Name: "nftables", Needed: true, Detail: "create an nftables table: permission denied", Remedy: "run as root, or in a user and network namespace of your own: faultctl run, verify and demo make one"},
		{Name: "raw socket", Needed: true, Detail: "open raw socket: permission denied", Remedy: "run as root, or in a user and network namespace of your own: faultctl run, verify and demo make one"},
		{Name: "table owner", Detail: "the rules die with the process", Remedy: "Linux 5.12 or newer has it"},
	}
	w.probe = func() []injector.Feature { return features }
	if code := w.faultctl("doctor"); code != exitPreflight {
		t.Errorf("exit %d", code)
	}
	golden(t, "doctor.txt", w.out.String())
	w.out.Reset()
	if code := w.faultctl("doctor -o json"); code != exitPreflight {
		t.Errorf("exit %d", code)
	}
	golden(t, "doctor.json", w.out.String())
	features[1].Denied, features[2].Denied = true, true
	w.out.Reset()
	if code := w.faultctl("doctor"); code != exitPreflight {
		t.Errorf("exit %d", code)
	}
	if s := w.out.String(); strings.Contains(s, "cannot work here") || !strings.Contains(strings.Join(strings.Fields(s), " "), "run, verify and demo create a namespace") {
		t.Errorf("without root nothing is said to work:\n%s", s)
	}
	features = features[:1]
	if code := w.faultctl("doctor"); code != exitOK {
		t.Errorf("exit %d when nothing is missing", code)
	}
}
