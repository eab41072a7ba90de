package cli

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

func TestComplete(t *testing.T) {
	for _, tc := range []struct {
		words []string // the last one is being typed
		want  string   // a candidate, - before it: none such
	}{
		{[]string{""}, "inject"},
		{[]string{"in"}, "inject"},
		{[]string{"in"}, "-doctor"},
		{[]string{""}, "-__complete"},
		{[]string{"inject", ""}, "idle-expire"},
		{[]string{"inject", "--to", ":80", "id"}, "idle-expire"},
		{[]string{"inject", "idle-expire", "--a"}, "--after"},
		{[]string{"inject", "idle-expire", "--"}, "--to"},
		{[]string{"inject", "reset", "--"}, "-"},
		{[]string{"inject", "reset", "--"}, "---after"},
		{[]string{"inject", "idle-expire", "--then", ""}, "rst-next"},
		{[]string{"inject", "idle-expire", "--preset", "aws"}, "aws-nlb"},
		{[]string{"inject", "reset", "--at", ""}, "segment="},
		{[]string{"inject", "reset", "--at", ""}, "request="},
		{[]string{"inject", "reset", "--at", "r"}, "ready"},
		{[]string{"inject", "reset", "--at", "t"}, "tls-data"},
		{[]string{"inject", "reset", "-o", ""}, "json"},
		{[]string{"inject", "reset", "--fault", "syn"}, "syn-drop"},
		{[]string{"verify", "--faults", "syn"}, "syn-drop"},
		{[]string{"run", "idle-expire", "--a"}, "--after"},
		{[]string{"run", "reset", "--cg"}, "---cgroup"},
		{[]string{"inject", "reset", "--new-only", "--f"}, "--first"},
		{[]string{"faults", ""}, "reset"},
		{[]string{"demo", "half"}, "half-open"},
		{[]string{"completion", ""}, "zsh"},
		{[]string{"scenario", ""}, "validate"},
		{[]string{"scenario", ""}, "-reset"},
		{[]string{"scenario", "run", "--"}, "--dry-run"},
		{[]string{"scenario", "run", "x.yaml", "-o", ""}, "json"},
		{[]string{"scenario", "run", "../examples/scenarios/re"}, "../examples/scenarios/redis-cache.yaml"},
		{[]string{"scenario", "validate", "../examples/sc"}, "../examples/scenarios/"},
		{[]string{"scenario", "run", "../examples/pl"}, "-../examples/plan.txt"},
		{[]string{"replay", "testdata/run.n"}, "testdata/run.ndjson"},
		{[]string{"verify", "--plan", "../examples/pl"}, "../examples/plan.txt"},
		{[]string{"scenario", "run", "--report", "../exam"}, "../examples/"},
		{[]string{"nosuch", ""}, "-inject"},
	} {
		w := newWorld(t)
		w.run(append([]string{"faultctl", "__complete", "--"}, tc.words...))
		want, not := strings.CutPrefix(tc.want, "-")
		if strings.HasPrefix(tc.want, "--") && !strings.HasPrefix(tc.want, "---") {
			want, not = tc.want, false
		}
		has := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(want) + `\t`).MatchString(w.out.String())
		if has == not {
			t.Errorf("%q: %q among the candidates is %v:\n%s", tc.words, want, has, &w.out)
		}
	}
}

// The script works in bash itself.
func TestBashCompletion(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil && os.Getenv("FAULTCTL_REQUIRE") != "1" {
		t.Skip("bash is not installed")
	} else if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	if code := w.faultctl("completion bash"); code != exitOK {
		t.Fatalf("exit %d", code)
	}
	const ask = `
faultctl() { [ "$1 $2 $3 $4" = "__complete -- inject id" ] && printf 'idle-expire\tA NAT forgets\n'; }
COMP_WORDS=(faultctl inject id) COMP_CWORD=2
_faultctl
echo "${COMPREPLY[@]}"
`
	out, err := exec.Command(bash, "--norc", "-c", w.out.String()+ask).CombinedOutput()
	if string(out) != "idle-expire\n" || err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
