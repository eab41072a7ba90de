package experiment_test

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/google/go-cmp/cmp"
)

// Code, field and advice are found wherever an Error is wrapped: the code is the
// outermost one's, the others are those of the outermost one that has them.
func TestReport(t *testing.T) {
	inner := event.Usagef("fault.after", "no unit").WithValue("300").WithAdvice("Write 300s.")
	for _, c := range []struct {
		err  error
		want event.ErrorEvent
	}{
		{inner, event.ErrorEvent{Code: event.CodeUsage, Message: "--fault.after 300: no unit", Advice: "Write 300s.", Field: "fault.after"}},
		{fmt.Errorf("x: %w", inner), event.ErrorEvent{Code: event.CodeUsage, Message: "x: --fault.after 300: no unit", Advice: "Write 300s.", Field: "fault.after"}},
		{event.Refusedf("", "y: %w", inner), event.ErrorEvent{Code: event.CodeRefused, Message: "y: --fault.after 300: no unit", Advice: "Write 300s.", Field: "fault.after"}},
		{event.Preflightf("to", "z: %w", inner).WithAdvice("Be root."), event.ErrorEvent{Code: event.CodePreflight, Message: "--to: z: --fault.after 300: no unit", Advice: "Be root.", Field: "to"}},
		{errors.Join(event.Failuref("", "a"), inner), event.ErrorEvent{Code: event.CodeFailure, Message: "a\n--fault.after 300: no unit", Advice: "Write 300s.", Field: "fault.after"}},
		{event.Problems{inner, event.Usagef("to", "b")}, event.ErrorEvent{Code: event.CodeUsage, Message: "--fault.after 300: no unit\n--to: b", Advice: "Write 300s.", Field: "fault.after"}},
		{fs.ErrExist, event.ErrorEvent{Code: event.CodeFailure, Message: "file already exists"}},
	} {
		if diff := cmp.Diff(c.want, experiment.Report(c.err, func(f event.Field) string { return "--" + string(f) })); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.err, diff)
		}
	}
	if experiment.CodeOf(nil) != event.CodeOK {
		t.Error("no error has a code")
	}
}
