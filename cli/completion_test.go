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
		{[]string{"scenario", "run", "../examples/scenarios/re"}, "yaml"},
		{[]string{"scenario", "validate", "x.yaml", "y"}, "yaml"},
		{[]string{"scenario", "run", "x"}, ":8"},     // files with those extensions
		{[]string{"replay", "testdata/run.n"}, ":0"}, // the shell completes files
		{[]string{"verify", "--plan", "../examples/pl"}, ":0"},
		{[]string{"verify", "--to", ":80", "--", "go"}, ":0"},
		{[]string{"run", "reset", "--", "go"}, ":0"},
		{[]string{"scenario", "run", "--report", "../exam"}, ":0"},
		{[]string{"inject", "reset", "--to", ""}, ":4"}, // nothing
		{[]string{"inject", "reset", ""}, ":4"},
		{[]string{"doctor", ""}, ":4"},
		{[]string{"inject", "--fault", "idle-expire", "--a"}, "--after"},
		{[]string{"inject", "idle-expire:after=3s", "--a"}, "--after"},
		{[]string{"help", "in"}, "inject"},
		{[]string{"demo", "idle-expire", "--aft"}, "--after"},
		{[]string{"nosuch", ""}, "-inject"},
	} {
		w := newWorld(t)
		w.run(append([]string{"faultctl", "__complete"}, tc.words...))
		want, not := strings.CutPrefix(tc.want, "-")
		if strings.HasPrefix(tc.want, "--") && !strings.HasPrefix(tc.want, "---") {
			want, not = tc.want, false
		}
		has := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(want) + `(\t|$)`).MatchString(w.out.String())
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
# As bash and its package bash-completion have them.
_get_comp_words_by_ref() { words=(faultctl inject id) cword=2 cur=id prev=inject; }
__ltrim_colon_completions() { :; }
compopt() { :; }
faultctl() { [ "$1 $2 $3" = "__complete inject id" ] && printf 'idle-expire\tA NAT forgets\n:4\n'; }
COMP_TYPE=9
__start_faultctl
echo "${COMPREPLY[@]}"
`
	out, err := exec.Command(bash, "--norc", "-c", w.out.String()+ask).CombinedOutput()
	if string(out) != "idle-expire\n" || err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
