package cli

import (
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// knobsSet lists the settings of the faults of a run that are not at their
// default, as SPECs.
func knobsSet(t *testing.T, cfg injector.Config) []string {
	t.Helper()
	var specs []string
	for _, f := range cfg.Rules[0].Faults {
		kind, err := faults.Find(f.Name)
		if err != nil {
			t.Fatal(err)
		}
		s := faults.Spec{Name: f.Name}
		for _, k := range faults.Knobs(f.Model) {
			if was, _ := faults.Get(kind.New(), k.Name); was != k.Default {
				s.Knobs = append(s.Knobs, [2]string{k.Name, k.Default})
			}
		}
		specs = append(specs, s.String())
	}
	return specs
}

// However a fault is written, it means the same.
func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		line string
		want []string
	}{
		{"idle-expire --after 300s", []string{"idle-expire:after=5m"}},
		{"--after 300s idle-expire", []string{"idle-expire:after=5m"}},
		{"--to :5432 --after=300s idle-expire --then silent", []string{"idle-expire:after=5m,then=silent"}},
		{"idle-expire:after=300s,then=rst-both", []string{"idle-expire:after=5m,then=rst-both"}},
		{"idle-expire:after=300s --after 1s", []string{"idle-expire:after=1s"}},
		{"--new-only idle-expire -after 1s --dry-run=false", []string{"idle-expire:after=1s"}},
		{"--fault idle-expire --after 1s", []string{"idle-expire:after=1s"}},
		{"--fault=idle-expire:after=1s", []string{"idle-expire:after=1s"}},
		{"--unreachable half-open --peer crashed", []string{"half-open:peer=crashed,unreachable=true"}},
		{"half-open:unreachable,peer=crashed", []string{"half-open:peer=crashed,unreachable=true"}},
		{"reset:at=segment=3,hit=client", []string{"reset:at=segment=3,hit=client"}},
		{"reset --at match=GET", []string{"reset:at=match=GET"}},
		{"reset --fault syn-drop:attempts=1 --fault idle-expire:after=1s,then=silent",
			[]string{"reset", "syn-drop:attempts=1", "idle-expire:after=1s,then=silent"}},
		{"reset,idle-expire:after=1s,then=silent,syn-drop:attempts=2",
			[]string{"reset", "idle-expire:after=1s,then=silent", "syn-drop:attempts=2"}},
		{"--fault reset,idle-expire:after=1s --fault syn-drop:attempts=1", []string{"reset", "idle-expire:after=1s", "syn-drop:attempts=1"}},
		{"reset:hit=client,idle-expire:after=1s --hit server", []string{"reset:hit=server", "idle-expire:after=1s"}},
	} {
		w := newWorld(t)
		if code := w.faultctl("inject " + tc.line + " --duration 1s"); code != exitOK {
			t.Errorf("%s: exit %d\n%s", tc.line, code, &w.err)
			continue
		}
		if diff := cmp.Diff(tc.want, knobsSet(t, w.cfg)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.line, diff)
		}
	}
}

func prefix(s string) netip.Prefix {
	if s == "" {
		return netip.Prefix{}
	}
	return netip.MustParsePrefix(s)
}

func TestTargets(t *testing.T) {
	end := func(p string, low, high uint16) target.Endpoint {
		return target.Endpoint{Prefix: prefix(p), LowPort: low, HighPort: high}
	}
	ends := func(es ...target.Endpoint) []target.Endpoint { return es }
	for flags, want := range map[string]target.Matcher{
		"":                                 {},
		"--to :5432":                       {To: ends(end("", 5432, 5432))},
		"--to 10.0.0.5:80,443":             {To: ends(end("10.0.0.5/32", 80, 80), end("10.0.0.5/32", 443, 443))},
		"--to 10.1.2.3/8:8000-8100":        {To: ends(end("10.0.0.0/8", 8000, 8100))},
		"--to [fd00::5]:8000-8100":         {To: ends(end("fd00::5/128", 8000, 8100))},
		"--to [fd00::5]":                   {To: ends(end("fd00::5/128", 0, 0))},
		"--to [fd00::/64]:443":             {To: ends(end("fd00::/64", 443, 443))},
		"--to 10.0.0.5":                    {To: ends(end("10.0.0.5/32", 0, 0))},
		"--to db.internal:5432":            {To: ends(end("10.0.0.5/32", 5432, 5432), end("fd00::5/128", 5432, 5432))},
		"--to :80 --to :443":               {To: ends(end("", 80, 80), end("", 443, 443))},
		"--to !:22":                        {Except: ends(end("", 22, 22))},
		"--to :1-65535 --to !10.0.0.9:80":  {To: ends(end("", 1, 65535)), Except: ends(end("10.0.0.9/32", 80, 80))},
		"--to [fe80::1%eth0]:80":           {To: ends(end("fe80::1/128", 80, 80))},
		"--to [::ffff:10.0.0.5]:80":        {To: ends(end("10.0.0.5/32", 80, 80))},
		"--to 0.0.0.0:80 --to [::]:443":    {To: ends(end("", 80, 80), end("", 443, 443))},
		"--to [::]:80,90 --to !0.0.0.0:85": {To: ends(end("", 80, 80), end("", 90, 90)), Except: ends(end("", 85, 85))},
		"--to [::ffff:10.0.0.0/104]:80":    {To: ends(end("10.0.0.0/8", 80, 80))},
		"--from 10.0.0.7":                  {From: []netip.Prefix{prefix("10.0.0.7/32")}},
		"--from 10.0.0.7/24 --from fd00::": {From: []netip.Prefix{prefix("10.0.0.0/24"), prefix("fd00::/128")}},
		"--from db.internal":               {From: []netip.Prefix{prefix("10.0.0.5/32"), prefix("fd00::5/128")}},
	} {
		w := newWorld(t)
		if code := w.faultctl("inject reset --duration 1s " + flags); code != exitOK {
			t.Errorf("%s: exit %d\n%s", flags, code, &w.err)
			continue
		}
		if diff := cmp.Diff(want, w.cfg.Rules[0].Match, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", flags, diff)
		}
	}
}

// A zone is a word of the host, which no packet carries: a run that takes an
// address with one says that it strikes that address everywhere.
func TestZones(t *testing.T) {
	for flags, want := range map[string]string{
		"--to [fe80::1%eth0]:80":             "connections to [fe80::1%eth0]:80 (whatever the zone), for 1s\n",
		"--to :80 --from fe80::1%eth0":       "connections to :80, from fe80::1%eth0 (whatever the zone), for 1s\n",
		"--to [fe80::1]:80 --from fe80::/10": "connections to [fe80::1]:80, from fe80::/10, for 1s\n",
	} {
		w := newWorld(t)
		w.faultctl("inject reset --duration 1s " + flags)
		if !strings.Contains(w.out.String(), want) {
			t.Errorf("%s says\n%s, not %q", flags, &w.out, want)
		}
	}
}

func TestBadTargets(t *testing.T) {
	for text, says := range map[string]string{
		"":                   "empty",
		":":                  "no port",
		":0":                 "port",
		":80,":               `"" is not a port`,
		":90-80":             "backwards",
		":80-":               "not a port",
		":http":              "not a port",
		"10.0.0.5:":          "no port",
		"10.0.0.300:80":      "neither",
		"0.0.0.0":            "every address",
		"[::]":               "every address",
		"10.0.0.0/99:80":     "CIDR",
		"fd00::5:80":         "did you mean [fd00::5]:80 or [fd00::5:80]?",
		"fd00::/64:80":       "did you mean [fd00::/64]:80?",
		"[fd00::]/64:80":     "did you mean [fd00::/64]:80?",
		"[fd00::]/64":        "did you mean [fd00::/64]?",
		"[fd00::5":           "never closed",
		"[]:80":              "empty",
		"[fd00::5]80":        "not :PORTS",
		"[fd00::5]:":         "not :PORTS",
		"*:80":               "neither",
		"no.such.host:80":    "look up",
		"!!:80":              "neither",
		"https://db:80/path": "did you mean db:80?",
	} {
		_, err := target.ParseEndpoints(t.Context(), text, newWorld(t).sys.Lookup)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want something about %q", text, err, says)
		}
	}
}

func TestPicks(t *testing.T) {
	for flags, want := range map[string]target.Pick{
		"":                               {},
		"--percent 10":                   {Share: target.ShareOf(0.1)},
		"--percent 10%":                  {Share: target.ShareOf(0.1)},
		"--percent 0.5":                  {Share: target.ShareOf(0.005)},
		"--percent 100":                  {Share: target.ShareOf(1)},
		"--every 3":                      {Every: 3},
		"--first 5 --skip 2":             {First: 5, Skip: 2},
		"--max-connections 7 --new-only": {Max: 7, NewOnly: true},
	} {
		w := newWorld(t)
		if code := w.faultctl("inject reset --to :80 --duration 1s " + flags); code != exitOK {
			t.Errorf("%s: exit %d\n%s", flags, code, &w.err)
			continue
		}
		if diff := cmp.Diff(want, w.cfg.Rules[0].Pick, cmpopts.EquateApprox(0, 1e-12)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", flags, diff)
		}
	}
	w := newWorld(t)
	w.faultctl("inject reset --to :80 --duration 1s --percent 0")
	if share := w.cfg.Rules[0].Pick.Share; share != target.ShareOf(0) {
		t.Errorf("--percent 0 chooses a share of %v", share)
	}
}

// A run without a target ends by itself; others do not.
func TestDurations(t *testing.T) {
	for flags, want := range map[string][]time.Duration{
		"":                        {15 * time.Minute},
		"--percent 5":             {15 * time.Minute},
		"--duration 1m":           {time.Minute},
		"--to :80 --duration 90s": {90 * time.Second},
		"--to :80 --start-after 5s --duration 1s": {5 * time.Second, time.Second},
	} {
		w := newWorld(t)
		if code := w.faultctl("inject reset " + flags); code != exitOK {
			t.Errorf("%s: exit %d\n%s", flags, code, &w.err)
		}
		if diff := cmp.Diff(want, w.afters); diff != "" {
			t.Errorf("%s: waited for (-want +got):\n%s", flags, diff)
		}
	}
	for _, flags := range []string{"--to :80", "--duration 0", "--netns /proc/self/ns/net"} {
		w := newWorld(t)
		w.session.played = func() { w.signal <- syscall.SIGINT }
		code := w.faultctl("inject reset " + flags)
		ends := slices.DeleteFunc(w.afters, func(d time.Duration) bool { return d <= 2*time.Second }) // whether a namespace is still there
		if code != 130 || len(ends) > 0 {
			t.Errorf("%s: exit %d, ends after %v by itself", flags, code, w.afters)
		}
	}
}

// Every flag can be given as an environment variable.
func TestEnvironment(t *testing.T) {
	w := newWorld(t)
	for name, value := range map[string]string{
		"TO": ":80 !:22", "FROM": "10.0.0.7", "PERCENT": "10", "EVERY": "2", "FIRST": "3", "SKIP": "4", "MAX_CONNECTIONS": "5",
		"NEW_ONLY": "true", "DURATION": "7s", "SEED": "9", "HIT": "client", "FAULT": "syn-drop:attempts=1", "EXPECT_FIRED": "1",
	} {
		t.Setenv("FAULTCTL_"+name, value)
	}
	if code := w.faultctl("inject reset"); code != exitNotFired {
		t.Fatalf("exit %d\n%s", code, &w.err)
	}
	r := w.cfg.Rules[0]
	if len(r.Match.To) != 1 || len(r.Match.Except) != 1 || len(r.Match.From) != 1 {
		t.Errorf("target %+v", r.Match)
	}
	if want := (target.Pick{Share: target.ShareOf(0.1), Every: 2, First: 3, Skip: 4, Max: 5, NewOnly: true}); r.Pick != want {
		t.Errorf("pick %+v", r.Pick)
	}
	if got := knobsSet(t, w.cfg); !slices.Equal(got, []string{"reset:hit=client", "syn-drop:attempts=1"}) {
		t.Errorf("faults %v", got)
	}
	if w.cfg.Seed != 9 || !slices.Equal(w.afters, []time.Duration{7 * time.Second}) {
		t.Errorf("seed %d, waited %v", w.cfg.Seed, w.afters)
	}
	const again = "faultctl inject reset --hit client --fault syn-drop:attempts=1 --to :80 --to '!:22' --from 10.0.0.7 --percent 10 " +
		"--every 2 --first 3 --skip 4 --max-connections 5 --new-only --duration 7s --expect-fired --seed 9"
	if !strings.Contains(w.out.String(), again+"\n") {
		t.Errorf("the line that repeats the run is not there:\n%s", &w.out)
	}
}

// Flags, variables and entries of a scenario as they were spelled before mean
// what they meant.
func TestOldSpellings(t *testing.T) {
	for line, want := range map[string]string{
		"inject loss --rate 10% --burst 3 --to :80 --duration 1s":                  "loss:chance=10%,burst-length=3",
		"inject reset --at bytes=10 --dir server --to :80 --duration 1s":           "reset:at=bytes=10,bytes-of=server",
		"inject closed-socket --after 64k --to :80 --duration 1s":                  "closed-socket:at=bytes=65536",
		"inject syn-drop --queue 3 --rate 2 --to :80 --duration 1s":                "syn-drop:backlog=3,drain=2",
		"inject loss:rate=10% --rate 20% --to :80 --duration 1s":                   "loss:chance=20%",
		"inject --fault=throttle --rate 1mbit --to :80 --duration 1s":              "throttle:rate=1mbit",
		"inject --fault=loss --rate 1% --to :80 --duration 1s":                     "loss:chance=1%",
		"inject throttle --rate 1mbit --dir client --to :80 --duration 1s":         "throttle:rate=1mbit,dir=client",
		"inject --fault reorder:rate=5% --to :80 --duration 1s":                    "reorder:chance=5%",
		"inject closed-socket:after=30s --to :80 --duration 1s":                    "closed-socket:at=age=30s",
		"inject corrupt --what payload --to :80 --duration 1s FAULTCTL_RATE=5%":    "corrupt:what=payload,chance=5%",
		"inject corrupt --what payload --to :80 --duration 1s FAULTCTL_CHANCE=5%":  "corrupt:what=payload,chance=5%",
		"inject half-open --at bytes=9 --to :80 --duration 1s FAULTCTL_DIR=client": "half-open:at=bytes=9,bytes-of=client",
	} {
		t.Run(line, func(t *testing.T) {
			w := newWorld(t)
			line, env, has := strings.Cut(line, " FAULTCTL_")
			if name, value, _ := strings.Cut(env, "="); has {
				t.Setenv("FAULTCTL_"+name, value)
			}
			if code := w.faultctl(line); code != exitOK {
				t.Fatalf("exit %d\n%s", code, &w.err)
			}
			if got := knobsSet(t, w.cfg); !slices.Equal(got, []string{want}) {
				t.Errorf("it means %v, not %s", got, want)
			}
		})
	}
	w := newWorld(t)
	w.faultctl("inject loss --rate 10% --to :80 --duration 1s")
	if !strings.Contains(w.out.String(), "--chance 10%") && !strings.Contains(w.out.String(), "--chance=10%") {
		t.Errorf("the line that repeats the run has the old spelling:\n%s", &w.out)
	}
}

// A fault's setting must not have the name of a flag that every command has.
func TestKnobsDoNotClash(t *testing.T) {
	var common []string
	for _, f := range append(targetFlags(), runFlags()...) {
		common = append(common, f.Name, f.Shorthand)
	}
	for _, k := range faults.Catalog {
		for _, knob := range faults.Knobs(k.New()) {
			if slices.Contains(common, knob.Name) || knob.Name == "help" || knob.Name == "h" {
				t.Errorf("%s: the setting %s is a target or run flag already", k.Name, knob.Name)
			}
		}
	}
	for _, form := range faults.TriggerForms {
		form = strings.NewReplacer("=N", "=3", "=D", "=3s").Replace(form)
		if err := new(faults.Trigger).UnmarshalText([]byte(form)); err != nil {
			t.Errorf("help names a trigger that does not exist: %v", err)
		}
	}
}
