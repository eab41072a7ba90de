package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/explain"
	"github.com/faultctl/faultctl/explain/tap"
	"github.com/spf13/pflag"
)

// liveFlags choose the connections that explain listens to, and for how long.
func liveFlags() []*pflag.Flag {
	return wordFlags(targetHeading, func(w experiment.Word) bool {
		return slices.Contains([]string{"to", "from", "duration"}, w.Name)
	})
}

// isLive reports whether explain is to listen.
func isLive(c *call) bool {
	return c.IsSet("to") || c.IsSet("from") || c.IsSet("duration")
}

// explainLive listens until a signal or --duration ends it.
func (inv *invocation) explainLive(c *call, k *explanation) error {
	var s experiment.Spec
	if problems := append(emptyFlags(c), readWords(c, &s)...); len(problems) > 0 {
		return problems
	}
	ctx, release := inv.untilSignal(c.Context())
	defer release()
	m, err := inv.sys.Matcher(ctx, s)
	if err != nil {
		return err
	}
	if d := s.Duration; d != nil && *d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *d)
		defer cancel()
	}
	listening, err := tap.Listen(m, inv.sys.Proc)
	if errors.Is(err, tap.ErrPrivilege) {
		return event.Errorf(event.CodePreflight, "", "explain: %w", err)
	}
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	defer listening.Close()
	if k.pcap != "" {
		w, err := k.keep()
		if err != nil {
			return err
		}
		if err := listening.Record(w); err != nil {
			return fmt.Errorf("explain: %w", err)
		}
	}
	if !inv.json {
		fmt.Fprintln(inv.stderr, "explain: listening; Ctrl-C sums up what was seen")
	}
	var found []explain.Finding
	totals, err := listening.Run(ctx, func(f explain.Finding) {
		found = append(found, f)
		if inv.json {
			inv.events.Write(inv.sys.Now(), explained(f))
			return
		}
		fmt.Fprintf(inv.stdout, "%s  %s  %s > %s\n", f.At.Format(clockTime), f.Verdict, f.Client, f.Server)
	})
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	explain.Sort(found)
	if inv.json {
		inv.explainSum("", totals)
	} else {
		fmt.Fprintln(inv.stdout)
		inv.explainText("live", found, totals, c.Bool("all"))
	}
	k.add("live", found, totals)
	return k.leave(nil)
}
