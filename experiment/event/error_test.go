package event_test

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/faultctl/faultctl/experiment/event"
)

func flag(f event.Field) string { return "--" + string(f) }

func TestErrorRender(t *testing.T) {
	percent := event.Usagef("percent", "lies outside 0 to 100").WithValue("101")
	for _, c := range []struct {
		err                   error
		plain, flags, message string
	}{
		{percent, "percent 101: lies outside 0 to 100", "--percent 101: lies outside 0 to 100", "101: lies outside 0 to 100"},
		{event.Usagef("to", "what the ! excludes leaves out all"), "to: what the ! excludes leaves out all", "--to: what the ! excludes leaves out all", "what the ! excludes leaves out all"},
		{event.Usagef("to", "%s or %s is empty", event.Field("to"), event.Field("from")), "to or from is empty", "--to or --from is empty", "--to or --from is empty"},
		{event.Usagef("netns", "it and %s %d exclude each other", event.Field("pid"), 7).WithValue("x"), "netns x: it and pid 7 exclude each other", "--netns x: it and --pid 7 exclude each other", "x: it and --pid 7 exclude each other"},
		{event.Refusedf("", "no target"), "no target", "no target", "no target"},
		{event.Usagef("", "verify: %w", percent), "verify: percent 101: lies outside 0 to 100", "verify: --percent 101: lies outside 0 to 100", "verify: --percent 101: lies outside 0 to 100"},
		{&event.Error{Code: event.CodePreflight, Field: "container", Value: "web", Err: fs.ErrPermission}, "container web: permission denied", "--container web: permission denied", "web: permission denied"},
		{fmt.Errorf("start: %w", errors.Join(percent, percent)), "start: percent 101: lies outside 0 to 100\npercent 101: lies outside 0 to 100",
			"start: --percent 101: lies outside 0 to 100\n--percent 101: lies outside 0 to 100", ""},
		{event.Problems{percent, event.Usagef("to", "no")}, "percent 101: lies outside 0 to 100\nto: no", "--percent 101: lies outside 0 to 100\n--to: no", ""},
		{fs.ErrExist, "file already exists", "file already exists", ""},
	} {
		if got := c.err.Error(); got != c.plain {
			t.Errorf("got %q, want %q", got, c.plain)
		}
		if got := event.Render(c.err, flag); got != c.flags {
			t.Errorf("got %q, want %q", got, c.flags)
		}
		if e, is := c.err.(*event.Error); is && e.Message(flag) != c.message {
			t.Errorf("got %q, want %q", e.Message(flag), c.message)
		}
	}
	if event.Render(nil, flag) != "" {
		t.Error("no error says something")
	}
}

// What a user typed is not taken for a field.
func TestErrorTyped(t *testing.T) {
	err := event.Usagef("to", "%q, or %s: no", "from", event.Field("from")).WithValue("to from %s")
	if got, want := err.Render(flag), `--to to from %s: "from", or --from: no`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestErrorWraps(t *testing.T) {
	err := event.Usagef("plan", "read it: %w", fs.ErrNotExist)
	if !errors.Is(err, fs.ErrNotExist) || !errors.Is(fmt.Errorf("x: %w", event.Problems{err}.Err()), fs.ErrNotExist) {
		t.Error("it does not wrap its cause")
	}
	if event.Problems(nil).Err() != nil {
		t.Error("no problem is an error")
	}
	advised := err.WithAdvice("Name a file.")
	if err.Advice != "" || advised.Advice == "" {
		t.Error("WithAdvice changes the error it is given")
	}
}
