package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/explain"
	"github.com/faultctl/faultctl/explain/capture"
	"github.com/faultctl/faultctl/internal/words"
	"github.com/spf13/cobra"
)

// explainCommand is faultctl explain FILE….
func (inv *invocation) explainCommand() *cobra.Command {
	return inv.complete(&cobra.Command{
		Use: "explain [CAPTURE...] [flags]", Short: "name the cause of each reset and timeout, in a capture or live",
		Example: "faultctl explain capture.pcapng\ntcpdump -i any -w - tcp | faultctl explain -\nfaultctl explain capture.pcap --report why.html --pcap commented.pcapng\n" +
			"faultctl explain -o json capture.pcap\nsudo faultctl explain --to :5432 --duration 10m",
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
	}, append(liveFlags(),
		listFlag(otherHeading, "report", "`FILE` write a report: FILE.html, .md or .json; repeatable"),
		valueFlag(otherHeading, "pcap", "`FILE` write the packets again, as pcapng, with a comment on each that decided"),
		toggleFlag(otherHeading, "all", "show each connection with its evidence, not only one of each kind"),
		outputFlag(otherHeading),
	), inv.explain)
}

// explain reads captures and says what happened to their connections. It needs no
// privilege.
func (inv *invocation) explain(c *call) error {
	paths := c.words
	live := isLive(c)
	switch {
	case len(paths) == 0 && !live:
		return usageError("explain: which capture? It is a pcap or pcapng file, such as tcpdump -w writes, or - for standard input. To listen instead, give --to or --duration.")
	case len(paths) > 0 && live:
		return usageError("explain: --to, --from and --duration are for listening: leave them out, or leave out the capture")
	}
	k, err := inv.explanation(c, paths)
	if err != nil {
		return err
	}
	if live {
		return inv.explainLive(c, k)
	}
	const enough = 400 << 20 // collects garbage more often rather than growing beyond it
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(enough))
	for _, path := range paths {
		if err = inv.explainFile(path, c.Bool("all"), k); err != nil {
			break
		}
	}
	return k.leave(err)
}

func (inv *invocation) explainFile(path string, all bool, k *explanation) (err error) {
	var r io.Reader = inv.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return usageError("explain %s: %w", path, aboutFile(err))
		}
		defer f.Close()
		r = f
	}
	if r, err = k.spool(path, r); err != nil {
		return err
	}
	var found []explain.Finding
	line := inv.newLive()
	var progress func(frames int)
	if inv.terminal && !inv.json {
		progress = func(frames int) {
			read := words.Plural(uint64(frames), "frame")
			line.show(path+": "+read, read)
		}
	}
	totals, err := capture.Explain(r, func(f explain.Finding) { found = append(found, f) }, progress)
	line.show()
	if errors.Is(err, capture.ErrNotCapture) {
		return usageError("explain %s: %w", path, err).WithAdvice("Record one with tcpdump -w FILE, or give inject and run --pcap FILE.")
	}
	if err != nil {
		return fmt.Errorf("explain %s: %w", path, aboutFile(err))
	}
	explain.Sort(found)
	if inv.json {
		inv.explainJSON(path, found, totals)
	} else {
		inv.explainText(path, found, totals, all)
	}
	k.add(path, found, totals)
	if totals.Broken != nil && totals.Packets == 0 {
		return fmt.Errorf("explain %s: %w", path, totals.Broken)
	}
	return nil
}

func (inv *invocation) explainJSON(path string, found []explain.Finding, t capture.Totals) {
	for _, f := range found {
		inv.events.Write(inv.sys.Now(), explained(f))
	}
	inv.explainSum(path, t)
}

// explainSum is the last event.
func (inv *invocation) explainSum(path string, t capture.Totals) {
	sum := event.ExplainedAll{
		File: path, Frames: t.Frames, Packets: t.Packets, Connections: t.Connections, InOrder: t.InOrder, Early: t.Evicted,
		Skipped: t.Skipped.Fragments + t.Skipped.Short + t.Skipped.Link, Lost: t.Lost, Unseen: t.Unseen, Kernel: t.Kernel,
	}
	if t.Broken != nil {
		sum.Broken = t.Broken.Error()
	}
	inv.events.Write(inv.sys.Now(), sum)
}
