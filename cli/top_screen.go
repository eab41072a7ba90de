package cli

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/experiment/control"
	"github.com/faultctl/faultctl/internal/words"
	"github.com/gdamore/tcell/v2"
	"github.com/rivo/tview"
)

// topScreen is top on a terminal: a table of runs above one of connections.
type topScreen struct {
	inv  *invocation
	ctx  context.Context
	only string

	app         *tview.Application
	title, foot *tview.TextView
	filterField *tview.InputField
	rows        *tview.Flex
	runs, conns *tview.Table

	view    topView
	shown   []connRow // as they are in the table
	width   int
	by      int // column that conns is sorted by
	reverse bool
	filter  string
	all     atomic.Bool // connections that were not chosen are shown too
	said    string      // what the last key did
}

// topLive shows top until a person leaves it or ctx is done.
func (inv *invocation) topLive(ctx context.Context, only string) error {
	// The terminal's own colours suit a light and a dark one.
	tview.Styles.PrimitiveBackgroundColor = tcell.ColorDefault
	tview.Styles.PrimaryTextColor = tcell.ColorDefault
	tview.Styles.BorderColor = tcell.ColorDefault
	tview.Styles.ContrastBackgroundColor = tcell.ColorDefault
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &topScreen{inv: inv, ctx: ctx, only: only, app: tview.NewApplication(), title: tview.NewTextView(), foot: tview.NewTextView(),
		runs: tview.NewTable(), conns: tview.NewTable(), filterField: tview.NewInputField()}
	if inv.newScreen != nil {
		screen, err := inv.newScreen()
		if err != nil {
			return err
		}
		s.app.SetScreen(screen)
	}
	for _, t := range []*tview.Table{s.runs, s.conns} {
		t.SetFixed(1, 0).SetSelectable(true, false).SetSelectedStyle(tcell.StyleDefault.Reverse(true))
	}
	s.filterField.SetLabel("filter: ").SetChangedFunc(func(text string) { s.filter = text; s.draw() }).SetDoneFunc(func(key tcell.Key) {
		if key == tcell.KeyEscape {
			s.filterField.SetText("")
		}
		s.app.SetFocus(s.conns)
	})
	s.rows = tview.NewFlex().SetDirection(tview.FlexRow).AddItem(s.title, 1, 0, false).AddItem(s.runs, 3, 0, true).AddItem(s.conns, 0, 1, false).
		AddItem(s.filterField, 1, 0, false).AddItem(s.foot, 1, 0, false)
	s.app.SetRoot(s.rows, true).SetInputCapture(s.key).SetBeforeDrawFunc(func(screen tcell.Screen) bool {
		if width, _ := screen.Size(); width != s.width {
			s.width = width
			s.draw()
		}
		return false
	})
	go s.refresh()
	defer context.AfterFunc(ctx, s.app.Stop)()
	return s.app.Run()
}

// refresh looks again each second.
func (s *topScreen) refresh() {
	for {
		_, v, err := s.inv.look(s.ctx, s.only, s.all.Load())
		s.app.QueueUpdateDraw(func() {
			if s.view = v; err != nil {
				s.said = err.Error()
			}
			s.draw()
		})
		select {
		case <-time.After(time.Second):
		case <-s.ctx.Done():
			return
		}
	}
}

// draw fills the tables from the view.
func (s *topScreen) draw() {
	note := s.said
	if s.view.left > 0 && note == "" {
		note = fmt.Sprintf("%d connections are not listed", s.view.left)
	}
	if note != "" {
		note = "  " + words.Foreign(note) // a process may have said it
	}
	title := s.view.summary() + note
	if note != "" && len([]rune(title)) > s.width { // there is room for one of them
		title = s.view.at.Format("15:04:05") + note
	}
	s.title.SetText(text.Cut(title, s.width))
	s.rows.ResizeItem(s.runs, min(len(s.view.runs), 8)+2, 0)
	fill(s.runs, runHead, cellsOf(s.view.runs), 4)
	columns := connColumns(s.width)
	s.shown = arrange(s.view.conns, columns, s.by, s.reverse, s.filter, s.view.at)
	var head []string
	for i, col := range columns {
		mark := ""
		if i == s.by {
			mark = map[bool]string{false: "▾", true: "▴"}[s.reverse]
		}
		head = append(head, col.title+mark)
	}
	lines := make([][]string, len(s.shown))
	for i, row := range s.shown {
		for _, col := range columns {
			lines[i] = append(lines[i], col.of(row, s.view.at))
		}
	}
	fill(s.conns, head, lines, 4)
	s.foot.SetText(topKeys(s.width))
}

// fill writes lines into a table and keeps what is selected. The state is in a
// column of its own, and coloured.
func fill(t *tview.Table, head []string, lines [][]string, state int) {
	row, _ := t.GetSelection()
	for i, cell := range head {
		t.SetCell(0, i, tview.NewTableCell(cell+" ").SetSelectable(false).SetAttributes(tcell.AttrBold))
	}
	for t.GetColumnCount() > len(head) {
		t.RemoveColumn(t.GetColumnCount() - 1)
	}
	for n, line := range lines {
		for i, cell := range line {
			c := tview.NewTableCell(tview.Escape(cell) + " ")
			if i == state {
				c.SetTextColor(stateColour(cell))
			}
			t.SetCell(n+1, i, c)
		}
	}
	for t.GetRowCount() > len(lines)+1 {
		t.RemoveRow(t.GetRowCount() - 1)
	}
	t.Select(min(max(row, 1), max(len(lines), 1)), 0)
}

func stateColour(state string) tcell.Color {
	switch strings.TrimSpace(state) {
	case "felt", "fired":
		return tcell.ColorRed
	case control.Paused, "not felt", "not accepted", "unsent", "not struck":
		return tcell.ColorOlive
	case control.Running:
		return tcell.ColorGreen
	}
	return tcell.ColorDefault
}

// chosen is the run of the selected row, and the connection if it is one's.
func (s *topScreen) chosen() (o one, c control.Connection) {
	if row, _ := s.conns.GetSelection(); s.conns.HasFocus() && row >= 1 && row <= len(s.shown) {
		hit := s.shown[row-1]
		for _, r := range s.view.runs { // as it is now
			if r.ID == hit.one.ID {
				return one{r.Found, hit.run}, hit.Connection
			}
		}
	}
	if row, _ := s.runs.GetSelection(); row >= 1 && row <= len(s.view.runs) {
		return s.view.runs[row-1].one, c
	}
	return o, c
}

// key handles the keys that mean the same in both tables.
func (s *topScreen) key(ev *tcell.EventKey) *tcell.EventKey {
	if s.filterField.HasFocus() {
		return ev
	}
	switch {
	case ev.Key() == tcell.KeyTab:
		if s.runs.HasFocus() {
			s.app.SetFocus(s.conns)
		} else {
			s.app.SetFocus(s.runs)
		}
		return nil
	case ev.Key() == tcell.KeyEscape:
		s.filterField.SetText("")
		return nil
	case ev.Key() != tcell.KeyRune:
		return ev
	}
	switch key := ev.Rune(); key {
	case 'q':
		s.app.Stop()
	case '/':
		s.app.SetFocus(s.filterField)
	case 'o':
		s.by = (s.by + 1) % len(connColumns(s.width))
		s.draw()
	case 'O':
		s.reverse = !s.reverse
		s.draw()
	case 'a':
		s.all.Store(!s.all.Load())
		s.said = map[bool]string{true: "all connections", false: "chosen connections"}[s.all.Load()]
		s.draw()
	case 'X', 's', 'p', 't', 'e', '+', '-':
		view := s.view
		run, row := s.chosen()
		go func() { // the screen does not wait for the answer
			said, err := s.inv.press(s.ctx, key, view, run, row)
			if err != nil {
				said = err.Error()
			}
			_, v, lookErr := s.inv.look(s.ctx, s.only, s.all.Load())
			s.app.QueueUpdateDraw(func() {
				if s.said = said; lookErr == nil {
					s.view = v
				}
				s.draw()
			})
		}()
	default:
		return ev
	}
	return nil
}
