package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/control"
	"github.com/gdamore/tcell/v2"
)

// shownScreen is a screen of some width that remembers what it showed last.
type shownScreen struct {
	tcell.SimulationScreen
	width int

	mu    sync.Mutex
	shown string
}

func (s *shownScreen) Init() error {
	err := s.SimulationScreen.Init()
	s.SetSize(s.width, 24)
	return err
}

func (s *shownScreen) Show() {
	s.SimulationScreen.Show()
	shown := screenText(s.SimulationScreen)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown = shown
}

func (s *shownScreen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown
}

// screenText is what a screen shows, without blanks at the ends of lines.
func screenText(s tcell.SimulationScreen) string {
	cells, width, height := s.GetContents()
	var b strings.Builder
	for y := range height {
		var line strings.Builder
		for x := range width {
			if r := cells[y*width+x].Runes; len(r) > 0 {
				line.WriteRune(r[0])
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// TestTopLive holds that top shows the run and its connections on terminals of 80 and
// of 200 columns, and that its keys change the run and stop it.
func TestTopLive(t *testing.T) {
	for width, columns := range map[int]string{80: "FAULT STATE", 200: "FAULT STATE FIRED RUN WHAT HAPPENED"} {
		w, other := reached(t)
		oneFired(w, "delay")
		code := reach(t, w, other, "inject delay --by 50ms --to :5432")
		screen := &shownScreen{SimulationScreen: tcell.NewSimulationScreen("UTF-8"), width: width}
		other.terminal = true
		other.newScreen = func() (tcell.Screen, error) { return screen, nil }
		left := make(chan int, 1)
		go func() { left <- other.faultctl("top") }()
		shows := func(want string) {
			t.Helper()
			for deadline := time.Now().Add(20 * time.Second); !strings.Contains(strings.Join(strings.Fields(screen.text()), " "), want); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d columns: it does not show %q:\n%s", width, want, screen.text())
				}
			}
		}
		press := func(keys string) {
			for _, k := range keys {
				screen.InjectKey(tcell.KeyRune, k, tcell.ModNone)
			}
		}
		shows("1 run, 1 chosen, 1 fired, 1 felt")
		shows("inject delay running")
		shows(columns)
		shows("10.0.0.1:43210 10.0.0.5:5432 delay fired")
		for _, line := range strings.Split(screen.text(), "\n") {
			if n := len([]rune(line)); n > width {
				t.Errorf("%d columns: a line of %d: %s", width, n, line)
			}
		}
		press("p")
		shows("inject delay paused")
		press("p")
		shows("inject delay running")
		press("-")
		shows("percent=90")
		press("t")
		shows("choose a connection first")
		screen.InjectKey(tcell.KeyTab, 0, tcell.ModNone)
		press("e")
		shows("10.0.0.1:43210 is spared")
		shows("delay spared")
		press("t")
		shows("10.0.0.1:43210: struck at its next packet")
		press("a")
		shows("all connections")
		press("/nope")
		shows("filter: nope")
		screen.InjectKey(tcell.KeyEscape, 0, tcell.ModNone)
		shows("10.0.0.1:43210")
		press("o")
		shows("CLIENT▾")
		press("OX")
		shows("stopped all")
		if got := <-code; got != 143 {
			t.Errorf("exit %d", got)
		}
		shows("0 runs")
		press("q")
		if got := <-left; got != exitOK {
			t.Errorf("top: exit %d\n%s", got, &other.err)
		}
	}
}

// TestTopOnce holds that top prints the state once where there is no terminal.
func TestTopOnce(t *testing.T) {
	w, other := reached(t)
	oneFired(w, "delay")
	code := reach(t, w, other, "inject delay --by 50ms --to :5432")
	for other.out.Len() == 0 || !strings.Contains(other.out.String(), "fired") { // events come some milliseconds late
		other.out.Reset()
		if got := other.faultctl("top"); got != exitOK {
			t.Fatalf("exit %d\n%s", got, &other.err)
		}
	}
	other.out.Reset()
	other.faultctl("top -o json")
	var out topJSON
	if err := json.Unmarshal(other.out.Bytes(), &out); err != nil || len(out.Processes) != 1 || len(out.Connections) != 1 || out.Connections[0].Server != "10.0.0.5:5432" {
		t.Errorf("%v: %s", err, &other.out)
	}
	if got := other.faultctl("top nope"); got != exitUsage || !strings.Contains(other.err.String(), "no such run") {
		t.Errorf("exit %d: %s", got, &other.err)
	}
	other.faultctl("stop --all")
	<-code
}

// TestArrange holds how connections are sorted and filtered.
func TestArrange(t *testing.T) {
	at := time.Now()
	var rows []connRow
	for i := range 5000 {
		rows = append(rows, connRow{one: one{Found: &control.Found{}}, Connection: control.Connection{Client: fmt.Sprintf("10.0.0.1:%d", 40000+i), Server: "s", State: []string{"felt", "chosen"}[i%2], Fired: uint64(i % 7), Last: at.Add(time.Duration(i))}})
	}
	columns := connColumns(200)
	if got := arrange(rows, columns, 0, false, "", at); got[0].Client != "10.0.0.1:44999" {
		t.Error(got[0])
	}
	if got := arrange(rows, columns, 1, false, "", at); got[0].Client != "10.0.0.1:40000" {
		t.Error(got[0])
	}
	fired := slices.IndexFunc(columns, func(c connColumn) bool { return c.title == "FIRED" })
	if got := arrange(rows, columns, fired, true, "felt", at); got[0].Fired != 0 || len(got) != 2500 {
		t.Error(got[0], len(got))
	}
	if columns := connColumns(80); len(arrange(rows, columns, fired, false, "44999", at)) != 1 {
		t.Error("a column that is not there, or a filter")
	}
}

// TestQuiet holds that no line is printed for a connection, and the summary is.
func TestQuiet(t *testing.T) {
	for _, flag := range []string{"--quiet", "-q"} {
		w := newWorld(t)
		oneFired(w, "reset")
		if code := w.faultctl("inject reset --to :5432 --duration 1s " + flag); code != exitOK {
			t.Fatalf("exit %d\n%s", code, &w.err)
		}
		if out := w.out.String(); strings.Contains(out, "10.0.0.1:43210") || !strings.Contains(out, "everything is as before") || !strings.Contains(out, "ready") {
			t.Errorf("%s:\n%s", flag, out)
		}
	}
}
