package fidelity

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/cage"
	"github.com/faultctl/faultctl/lab"
)

// condition is what is the case when a fault strikes, or does not.
type condition string

const (
	felt       condition = "felt"             // the application has something at stake
	unfelt     condition = "nothing at stake" // nobody notices it
	wallOurs   condition = "our firewall"     // a firewall behind faultctl's hooks drops what it sends
	wallTheirs condition = "their firewall"   // the receiving host drops it
	shutBefore condition = "closed before"    // the connection was closed in order
	remedied   condition = "prevented"        // the remedy is at work
)

var conditions = []condition{felt, unfelt, wallOurs, wallTheirs, shutBefore, remedied}

// audited is one cell of the audit: a fault under a condition, with faultctl in one
// place.
type audited struct {
	row       *auditRow
	condition condition
	at        placement
	v6        bool

	na      string          // why there is no such cell, or ""
	verdict outcome.Verdict // as whoever ran it is told
	steps   outcome.Verdict // the same for a command that succeeds: what follows from the steps
	account string          // what the two programs saw
	problem string          // what is wrong, or ""
	deaf    bool            // the kernel does not tell of calls: not in this namespace, or not with these privileges
	log     []string
}

type writer func([]byte)

func (w writer) Write(line []byte) (int, error) {
	w(line)
	return len(line), nil
}

func (a *audited) name() string {
	return fmt.Sprintf("%s/%s/%s", a.row.name, a.condition, a.at)
}

// TestAudit plays each fault of the catalogue under each condition from each vantage,
// and compares what is said of it with what the programs saw.
func TestAudit(t *testing.T) {
	checkRows(t)
	var mu sync.Mutex
	var cells []*audited
	t.Run("cells", func(t *testing.T) {
		for n := range auditRows {
			for i, c := range conditions {
				for k, at := range placements {
					if !*full && at != atRouter && at != placements[(n+i)%len(placements)] {
						continue
					}
					a := &audited{row: &auditRows[n], condition: c, at: at, v6: (n+i+k)%2 == 1}
					t.Run(strings.ReplaceAll(a.name(), " ", "-"), func(t *testing.T) {
						t.Parallel()
						a.audit(t)
						mu.Lock()
						defer mu.Unlock()
						cells = append(cells, a)
					})
				}
			}
		}
	})
	if !t.Failed() {
		audit = cells
	}
}

// audit has the cells of the audit, if all are as they should be.
var audit []*audited

// checkRows checks that each fault of the catalogue is audited, each condition of it is
// played or left out for a reason, and nothing else is audited.
func checkRows(t *testing.T) {
	for _, k := range faults.Catalog {
		if !slices.ContainsFunc(auditRows, func(r auditRow) bool { return r.fault() == k.Name }) {
			t.Errorf("%s is not audited: add it to auditRows", k.Name)
		}
	}
	for n := range auditRows {
		r := &auditRows[n]
		if _, err := faults.Find(r.fault()); err != nil {
			t.Error(err)
		}
		for _, c := range conditions {
			if s, has := r.cells[c]; !has || (s.na == "") == (s.play == nil) {
				t.Errorf("%s, %s: it must have a play, or a reason why not", r.name, c)
			}
		}
	}
}

// audit plays the cell: again if the play itself went wrong, as it may on a busy machine.
func (a *audited) audit(t *testing.T) {
	part := a.row.cells[a.condition]
	if a.na = part.notPlayed(a.at); a.na != "" {
		return
	}
	if a.v6 && !lab.IPv6() {
		a.v6 = false
	}
	for try := range tries {
		staged := a.play(t, part)
		if staged == "" && (a.steps == outcome.Unknown && !slices.Contains(a.may(part), outcome.Unknown) || a.verdict.String() == "not conclusive") && try < tries-1 {
			staged = "what is known came late: " + a.steps.String() // what is never known stays so
		}
		if staged == "" {
			break
		}
		if try == tries-1 {
			t.Fatalf("the play went wrong: %s\n%s", staged, strings.Join(a.log, "\n"))
		}
		t.Logf("played again: %s", staged)
	}
	if a.problem = a.check(part); a.problem != "" {
		t.Errorf("%s\n%s", a.problem, strings.Join(a.log, "\n"))
	}
}

// play plays the cell once, and says what is wrong with the play itself.
func (a *audited) play(t *testing.T, part staged) string {
	t.Helper()
	s := newScene(t, a.at, a.v6)
	defer s.end()
	if part.first != nil {
		part.first(s)
	}
	ns := fmt.Sprintf("/proc/self/fd/%d", s.host().NS.Fd())
	one, err := faults.ParseSpecs(part.spec)
	if err != nil {
		t.Fatal(err)
	}
	spec := experiment.Spec{
		Faults: one, ExpectFired: true, Seed: new(uint64(1)),
		Target: experiment.Target{To: []string{":5432"}, NetNS: ns, First: 1},
	}
	sys := experiment.NewSystem()
	sys.Start = func(ctx context.Context, cfg injector.Config) (experiment.Engine, error) {
		cfg.Watchdog = -1 // it would kill the tests
		return injector.Start(ctx, cfg)
	}
	a.log, a.deaf = nil, false
	var mu sync.Mutex
	sys.Logger = slog.New(slog.NewTextHandler(writer(func(line []byte) {
		mu.Lock()
		defer mu.Unlock()
		a.deaf = a.deaf || bytes.Contains(line, []byte("whether a call has returned an error is not known"))
	}), &slog.HandlerOptions{Level: slog.LevelDebug}))
	begun, describe := time.Now(), new(injector.Describer)
	observe := experiment.Observer{
		Event: func(at time.Time, e event.Event) {
			mu.Lock()
			defer mu.Unlock()
			if o, is := e.(event.Outcome); is {
				a.log = append(a.log, fmt.Sprintf("%v outcome: struck %v %s; sent %s (%s); accepted %s (%s); felt %s (%s)", at.Sub(begun).Round(time.Millisecond), o.Struck, o.Why,
					o.Sent.Answer, o.Sent.Evidence, o.Accepted.Answer, o.Accepted.Evidence, o.Felt.Answer, o.Felt.Evidence))
			}
		},
		Packet: func(p injector.Packet) {
			mu.Lock()
			defer mu.Unlock()
			a.log = append(a.log, fmt.Sprintf("%v %s", p.Time.Sub(begun).Round(time.Millisecond), describe.Describe(&p)+" "+p.Comment()))
		},
	}
	var result experiment.Result
	command := outcome.NoCommand
	play := func() {
		part.play(s)
		if a.at != atClient && a.at != loopback {
			time.Sleep(3200 * time.Millisecond) // silence is evidence after 3 s
		}
		s.stopCounting()
	}
	var plan *experiment.Plan
	if a.local() {
		spec.Command = []string{"sh", "-c", "read status && exit $status"}
		spec.Target.NetNS = ""
	}
	if plan, err = sys.Plan(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	defer plan.Close()
	plan.Observe(observe)
	if a.local() {
		result, command = a.command(t, plan, s, play)
	} else {
		run, err := experiment.Start(t.Context(), plan)
		if err != nil {
			t.Fatal(err)
		}
		play()
		if err := run.Stop(); err != nil {
			t.Fatal(err)
		}
		result, _ = run.Wait()
	}
	j := plan.Spec.Judge(result.Stats, command)
	a.verdict, a.account = j.Verdict, s.account()
	a.steps = plan.Spec.Judge(result.Stats, outcome.Succeeded).Verdict
	mu.Lock()
	defer mu.Unlock()
	a.log = append(a.log, fmt.Sprintf("verdict %q, by the steps %q; the programs saw %q", a.verdict, a.steps, a.account))
	a.log = append(a.log, plan.Why(result, plan.Spec.Judge(result.Stats, outcome.Succeeded))...)
	if len(s.problems) == 0 && a.condition != felt && a.condition != wallOurs && a.condition != wallTheirs && strings.HasSuffix(a.account, ": late") && strings.Count(a.account, ":") == 1 {
		return "a call took long, maybe because the machine is busy"
	}
	return strings.Join(s.problems, "; ")
}

// local reports whether a program whose command can be run is on faultctl's host. On a
// router there is none: there it injects.
func (a *audited) local() bool { return a.at != atRouter }

// cage has a command strike all connections of a host, whose ends are in this process.
type stageCage struct {
	ns    *os.File
	begun chan struct{}
}

func (c *stageCage) Owner() target.Owner { return target.Owner{} }
func (c *stageCage) NetNS() *os.File     { return c.ns }
func (c *stageCage) Empty() error        { return nil }
func (c *stageCage) Close() error        { return nil }
func (c *stageCage) Start(cmd *exec.Cmd) (cage.Process, error) {
	defer close(c.begun)
	return cage.Child(cmd), cmd.Start()
}

// command runs the plan as faultctl run does, with a command that ends when the play is
// over.
func (a *audited) command(t *testing.T, plan *experiment.Plan, s *scene, play func()) (experiment.Result, outcome.Command) {
	t.Helper()
	ns, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", s.host().NS.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	in, tell, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer tell.Close()
	c := &stageCage{ns, make(chan struct{})}
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-c.begun:
		case <-t.Context().Done():
			return
		}
		play()
		fmt.Fprintln(tell, 0)
	}()
	end, result, err := plan.RunCommand(t.Context(), place.Stage{Cage: c, Path: shell, Stdin: in})
	if err != nil {
		t.Fatal(err)
	}
	<-over
	return result, experiment.CommandOf(end)
}

// check says what is wrong with what was said of the cell.
func (a *audited) check(part staged) string {
	want := a.may(part)
	if a.at == atServer && part.alsoAt != nil && a.steps == outcome.Unfelt && strings.Contains(a.account, "server:") {
		return "it is called unfelt, and the server was told"
	}
	noticed := a.account != ""
	told := slices.ContainsFunc(strings.FieldsFunc(a.account, func(r rune) bool { return strings.ContainsRune(" ,;", r) }), func(w string) bool {
		return strings.HasPrefix(w, "E") || w == "pieces" || w == "bytes"
	})
	switch {
	case a.condition == felt && !noticed:
		return "nobody saw anything of the fault: the play does not show what it is to show"
	case a.condition != felt && a.condition != wallOurs && a.condition != wallTheirs && noticed:
		return "somebody saw the fault: the play does not show what it is to show"
	case (a.condition == wallOurs || a.condition == wallTheirs) && told:
		return "somebody was told of the fault: the firewall does not stop it"
	case !slices.Contains(want, a.steps):
		return fmt.Sprintf("it is called %v, and must be %v", a.steps, want)
	}
	said := a.steps
	if !a.local() {
		switch said {
		case outcome.Survived, outcome.Unfelt, outcome.Unknown:
			said = outcome.Fired
		}
		if a.steps == outcome.Unknown && a.verdict == outcome.Unknown {
			said = a.verdict
		}
	}
	if a.verdict != said {
		return fmt.Sprintf("it is called %v, and must be %v", a.verdict, said)
	}
	return ""
}

// may is what may be said of the cell.
func (a *audited) may(part staged) []outcome.Verdict {
	may := slices.Clone(part.want)
	if may == nil {
		may = slices.Clone(wanted[a.condition])
	}
	if slices.Contains(part.alsoAt, a.at) {
		may = append(may, part.also)
	}
	if part.calls && a.deaf {
		may = append(may, outcome.Unfelt)
	}
	if part.mayNot(a.condition, a.at) != "" {
		may = append(may, outcome.Unknown)
	}
	if !a.local() && slices.Contains(may, outcome.Prevented) {
		may = append(may, outcome.NeverFired) // inject does not look for what kept it from happening
	}
	return may
}

// wanted is what may be said under a condition.
var wanted = map[condition][]outcome.Verdict{
	felt:       {outcome.Survived},
	unfelt:     {outcome.Unfelt},
	wallOurs:   {outcome.Unaccepted},
	wallTheirs: {outcome.Unaccepted},
	shutBefore: {outcome.NeverFired},
	remedied:   {outcome.Prevented},
}
