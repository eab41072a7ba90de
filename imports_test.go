package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/faultctl/faultctl/"

// TestImports holds the walls of ARCHITECTURE.md: imports run one way, cli to
// injector to faults to faults/packet; faults know the standard library only,
// and neither a clock nor the system; the command line knows no packets.
func TestImports(t *testing.T) {
	allowed := map[string][]string{ // package -> what it may import of this module
		"integration/lab":    {"integration/userns", "faults/packet"}, // the genuine lanes know nothing of faultctl
		"faults/packet":      nil,
		"faults":             {"faults/packet"},
		"faults/faulttest":   {"faults", "faults/packet"},
		"injector":           {"faults", "faults/packet"},
		"injector/pcap":      {"injector"},
		"cli/report":         {},
		"cli/goldentest":     {}, // for tests of cli and cli/report
		"cli/metrics":        {"injector"},
		"cli/scenario":       {"faults"},
		"cli/containers":     {},
		"cli/cage":           {"injector", "integration/userns"},
		"integration":        {"faults", "injector", "integration/userns"},
		"integration/strike": {"faults", "injector"},
		"integration/userns": {},
		"cli":                {"faults", "injector", "injector/pcap", "cli/report", "cli/metrics", "cli/scenario", "cli/containers", "cli/cage", "integration/lab", "integration/demo"},
		".":                  {"cli"},
	}
	pure := []string{"faults", "faults/packet"}
	impure := []string{"os", "net", "syscall", "unsafe", "io/fs", "log", "log/slog", "os/exec"}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		dir := filepath.Dir(path)
		may, held := allowed[dir]
		if !held {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range file.Imports {
			name, _ := strconv.Unquote(imp.Path.Value)
			ours, isOurs := strings.CutPrefix(name, module)
			switch {
			case isOurs && !slices.Contains(may, ours):
				t.Errorf("%s imports %s", path, ours)
			case !isOurs && slices.Contains(pure, dir) && (strings.Contains(name, ".") || slices.Contains(impure, name)):
				t.Errorf("%s imports %s: faults are pure", path, name)
			case dir == "cli" && strings.Contains(name, "nftables") || dir == "cli" && strings.Contains(name, "nfqueue"):
				t.Errorf("%s imports %s: the command line knows no packets", path, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
