package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNetns(t *testing.T) {
	w := newWorld(t)
	if err := os.Symlink("/proc/self/ns/net", filepath.Join(w.sys.NetNSDirs[1], "blue")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(w.sys.Proc, "7", "ns"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/proc/self/ns/net", filepath.Join(w.sys.Proc, "7", "ns", "net")); err != nil {
		t.Fatal(err)
	}
	for flags, name := range map[string]string{"--netns blue": "blue", "--netns /proc/self/ns/net": "/proc/self/ns/net", "--pid 7": "that of process 7"} {
		w.out.Reset()
		if code := w.faultctl("inject reset --duration 1s -o json " + flags); code != exitOK || w.cfg.NetNS == nil {
			t.Errorf("%s: exit %d, namespace %v\n%s", flags, code, w.cfg.NetNS, &w.err)
		}
		if want := `"netns":"` + name + `"`; !strings.Contains(w.out.String(), want) {
			t.Errorf("%s: no %s in\n%s", flags, want, &w.out)
		}
	}
	if code := w.faultctl("inject reset --netns bleu"); code != exitUsage || !strings.Contains(w.err.String(), `did you mean "blue"?`) {
		t.Errorf("exit %d: %s", code, &w.err)
	}
}
