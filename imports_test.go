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

// TestImports checks the walls of ARCHITECTURE.md: imports run one way, cli to
// injector to faults to faults/packet; faults know the standard library only,
// and neither a clock nor the system; the command line knows no packets.
func TestImports(t *testing.T) {
	allowed := map[string][]string{ // package -> what it may import of this module
		"lab":                        {"lab/userns", "faults/packet", "internal/netns"}, // the genuine lanes know nothing of faultctl
		"lab/userns":                 {},
		"faults/packet":              nil,
		"faults/clue":                {},
		"explain":                    {"explain/wire", "faults", "faults/clue", "faults/features", "faults/packet"},
		"explain/wire":               {"faults", "faults/clue", "faults/features", "faults/packet"},
		"internal/ownpcap":           {},
		"explain/capture":            {"explain", "faults/packet", "internal/ownpcap"},
		"explain/tap":                {"explain", "explain/capture", "faults", "faults/clue", "injector/sockets", "injector/target"},
		"injector/sockets":           {"injector/internal/sockdiag", "injector/internal/tracepoint"},
		"faults":                     {"faults/clue", "faults/packet", "internal/words"},
		"faults/internal/trace":      {"faults", "faults/packet"},
		"injector/internal/kerror":   {},
		"injector/target":            {"injector/internal/fsmount", "injector/internal/kerror"},
		"injector/internal/fsmount":  {"internal/rights"},
		"injector/internal/heap":     {},
		"injector/internal/lru":      {},
		"injector/internal/watchdog": {},
		"injector/internal/nfqueue":  {"injector/internal/kerror"},
		"injector/internal/rawsock":  {"injector/internal/kerror", "internal/netns"},
		"injector/internal/ruleset":  {"faults", "faults/packet", "injector/internal/sign", "injector/target"},
		"injector/internal/nft":      {"injector/internal/exitwatch", "injector/internal/kerror", "injector/internal/ruleset", "injector/target", "internal/netns", "internal/procid"},
		"injector": {"faults", "faults/features", "faults/outcome", "faults/packet", "injector/target", "injector/internal/exitwatch", "injector/internal/heap", "injector/internal/kerror", "injector/internal/lru",
			"injector/internal/nfqueue", "injector/internal/nft", "injector/internal/outcomes", "injector/internal/rawsock", "injector/internal/ruleset", "injector/internal/sign", "injector/internal/sockdiag", "injector/internal/tracepoint", "injector/internal/watchdog"},
		"injector/internal/kerneltest":          {"internal/netns"},                                                                   // for tests
		"injector/internal/ruleset/rulesettest": {"faults", "injector/internal/ruleset", "injector/internal/sign", "injector/target"}, // for tests
		"internal/netns":                        {},
		"faults/features":                       {"faults", "faults/packet"},
		"faults/outcome":                        {"faults", "faults/features", "faults/packet"},
		"injector/internal/sockdiag":            {},
		"injector/internal/outcomes":            {"faults", "faults/features", "faults/outcome", "faults/packet", "injector/internal/exitwatch", "injector/internal/sign", "injector/internal/sockdiag", "injector/internal/tracepoint"},
		"injector/internal/minirun":             {}, // for tests
		"injector/internal/outcometest":         {}, // tests only
		"injector/internal/exitwatch":           {},
		"injector/internal/sign":                {"injector/internal/fsmount"},
		"injector/internal/tracepoint":          {"injector/internal/fsmount"},
		"injector/pcap":                         {"injector", "internal/safefile", "internal/ownpcap"},
		"experiment/event":                      {"internal/words"},
		"experiment/policy":                     {"experiment/document", "injector/target", "internal/words"},
		"experiment/place":                      {"experiment/event", "injector", "injector/target", "internal/cage", "internal/containers", "internal/netns", "internal/words"},
		"experiment":                            {"experiment/event", "experiment/place", "experiment/policy", "faults", "faults/features", "faults/outcome", "injector", "injector/target", "internal/cage", "internal/containers", "internal/version", "internal/redact", "internal/words", "internal/rights"},
		"experiment/replay":                     {"experiment", "experiment/event", "faults", "injector/target", "internal/words"},
		"experiment/evidence":                   {"experiment", "experiment/event", "experiment/place", "experiment/report", "faults/outcome", "injector", "injector/pcap", "internal/metrics", "internal/version", "internal/words"},
		"experiment/survival":                   {"explain", "explain/capture", "faults/clue", "experiment", "experiment/event", "experiment/evidence", "experiment/place", "experiment/report", "faults", "faults/outcome", "injector", "injector/target", "internal/version", "internal/redact", "internal/words"},
		"experiment/control":                    {"experiment", "experiment/event", "faults", "faults/outcome", "injector", "internal/metrics", "internal/redact", "internal/version", "internal/words"},
		"experiment/toxiproxy/toxics":           {},
		"experiment/toxiproxy/forwarder":        {"experiment/toxiproxy/toxics"},
		"experiment/toxiproxy":                  {"experiment", "experiment/toxiproxy/forwarder", "experiment/toxiproxy/toxics", "faults"},
		"internal/version":                      {},
		"internal/words":                        {},
		"internal/redact":                       {},
		"internal/safefile":                     {},
		"experiment/report":                     {"internal/safefile"},
		"experiment/document":                   {"experiment/event", "internal/words"},
		"experiment/scenario":                   {"experiment", "experiment/document", "experiment/event", "experiment/evidence", "experiment/place", "experiment/report", "faults", "faults/outcome", "injector", "internal/version", "internal/redact", "internal/words"},
		"experiment/demo":                       {"experiment", "faults", "faults/packet", "injector", "lab"},
		"internal/proctest":                     {},                     // for tests
		"internal/goldentest":                   {},                     // for tests
		"internal/strike":                       {"faults", "injector"}, // for tests
		"internal/metrics":                      {"injector"},
		"internal/containers":                   {},
		"internal/sandbox":                      {},
		"internal/cage":                         {"injector", "injector/target", "internal/netns", "internal/procid", "internal/sandbox", "lab/userns", "internal/rights"},
		"internal/procid":                       {},
		"internal/rights":                       {},
		"faulttest":                             {"experiment", "faults", "faults/outcome", "injector", "injector/target", "internal/netns", "lab/userns"},
		"cli":                                   {"explain", "explain/capture", "explain/tap", "experiment", "experiment/control", "experiment/demo", "experiment/document", "experiment/event", "experiment/evidence", "experiment/place", "experiment/replay", "experiment/report", "experiment/scenario", "experiment/survival", "experiment/toxiproxy", "faults", "faults/outcome", "injector", "injector/target", "internal/cage", "internal/safefile", "internal/sandbox", "internal/version", "internal/redact", "internal/words", "lab", "cli/internal/text", "internal/rights"},
		"cli/internal/text":                     {"internal/words"},
		"clients/go":                            {"experiment/control", "experiment/event"},
		"kubernetes/cluster":                    {"experiment/event"},
		"kubernetes/runs":                       {"experiment", "experiment/control", "experiment/event", "internal/words", "kubernetes/cluster"},
		"kubernetes/plugin":                     {"experiment", "experiment/control", "experiment/event", "faults", "internal/version", "internal/words", "kubernetes/cluster", "kubernetes/runs"},
		"kubernetes/kubectl-faultctl":           {"kubernetes/plugin"},
		"kubernetes/testcluster/app":            {},
		".":                                     {"cli", "internal/openfiles"},
		"internal/openfiles":                    {},
	}
	pure := []string{"explain", "explain/wire", "faults", "faults/clue", "faults/packet", "faults/features", "faults/outcome", "internal/words"}
	// Modules by which only one package speaks to the kernel; the lab has tables of its
	// own. Expressions of nftables are data, and the rules are made of them.
	behind := map[string][]string{
		"github.com/google/nftables":            {"injector/internal/nft", "injector/internal/kerneltest", "injector/internal/exitwatch", "injector/internal/minirun", "injector/internal/sign"},
		"github.com/google/nftables/expr":       {"injector/internal/nft", "injector/internal/ruleset", "injector/internal/exitwatch", "injector/internal/minirun", "injector/internal/sign"},
		"github.com/google/nftables/xt":         {"injector/internal/ruleset", "injector/internal/exitwatch", "injector/internal/minirun", "injector/internal/sign"},
		"github.com/google/nftables/binaryutil": {"injector/internal/nft", "injector/internal/ruleset", "injector/internal/exitwatch", "injector/internal/minirun", "injector/internal/sign"},
		"github.com/florianl/go-nfqueue/v2":     {"injector/internal/nfqueue"},
	}
	impure := []string{"os", "net", "syscall", "unsafe", "io/fs", "log", "log/slog", "os/exec"}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		dir := filepath.Dir(path)
		may, held := allowed[dir]
		if free := strings.HasPrefix(dir, "examples") || strings.HasPrefix(dir, "integration"); !held && !free {
			t.Errorf("%s: the table does not say what %s may import", path, dir)
		}
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
			if owners, walled := behind[name]; walled && dir != "lab" && !slices.Contains(owners, dir) {
				t.Errorf("%s imports %s, which belongs to %v", path, name, owners)
			}
			switch {
			case isOurs && !slices.Contains(may, ours):
				t.Errorf("%s imports %s", path, ours)
			case !isOurs && slices.Contains(pure, dir) && (strings.Contains(name, ".") || slices.Contains(impure, name)):
				t.Errorf("%s imports %s: faults are pure", path, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
