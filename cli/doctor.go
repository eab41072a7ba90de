package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/cage"
	"github.com/faultctl/faultctl/internal/rights"
	"github.com/faultctl/faultctl/internal/words"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (inv *invocation) doctorCommand() *cobra.Command {
	return inv.complete(&cobra.Command{
		Use: "doctor [flags]", Short: "check what this kernel and user can do, and how to get the rest",
	}, []*pflag.Flag{outputFlag(otherHeading)}, inv.doctor)
}

// featureJSON is a feature as programs read it.
type featureJSON struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Needed bool   `json:"needed"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"` // only of a miss
}

// commandJSON is what a command needs, as programs read it.
func commandJSON(name, detail, remedy string) featureJSON {
	return featureJSON{Name: name, OK: remedy == "", Detail: detail, Remedy: remedy}
}

// doctor tries everything and leaves nothing behind. It ends with 5 if no command that
// strikes anything works.
func (inv *invocation) doctor(c *call) error {
	if err := noArguments(c); err != nil {
		return err
	}
	list := inv.featuresOf(inv.probe())
	commands, inside := inv.commands(list)
	if inside != nil { // what was tried where this user has rights says more
		list = inside
	}
	if inv.json {
		enc := json.NewEncoder(inv.stdout)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(slices.Concat(list, commands)); err != nil {
			return err
		}
	} else {
		inv.printFeatures(list, commands)
	}
	if !slices.ContainsFunc(commands, func(f featureJSON) bool { return f.OK }) {
		return quietExit(exitPreflight)
	}
	return nil
}

// featuresOf are those that were tried, as programs read them.
func (inv *invocation) featuresOf(all []injector.Feature) []featureJSON {
	list := []featureJSON{}
	for _, f := range all {
		j := featureJSON{f.Name, f.OK, f.Needed, f.Detail, ""}
		if !f.OK {
			j.Remedy = f.Remedy
			if f.Denied {
				j.Remedy = inv.rights().Advice()
			}
		}
		list = append(list, j)
	}
	return list
}

// lacking names the features without which nothing works.
func lacking(list []featureJSON) (names []string) {
	for _, f := range list {
		if f.Needed && !f.OK {
			names = append(names, f.Name)
		}
	}
	return names
}

// commands says command by command what works here. Where commands work only in
// namespaces of their own, inside is what was tried there.
func (inv *invocation) commands(list []featureJSON) (commands, inside []featureJSON) {
	const strike, caged, play = "inject, scenario run", "run, verify", "demo"
	own := inv.rights()
	missing, remedy := lacking(list), ""
	switch {
	case own.Danger() != "":
		remedy = "Refused: " + own.Danger() + ". " + rights.DangerAdvice
	case len(missing) > 0 && !own.Enough():
		remedy = own.Advice()
	case len(missing) > 0:
		remedy = "This needs what is missing below: " + strings.Join(missing, ", ") + "."
	}
	commands = append(commands, commandJSON(strike, "connections of this network namespace", remedy))
	within := func() string {
		if inside == nil {
			inside = inv.probeInside()
		}
		switch missing := lacking(inside); {
		case len(inside) == 0:
			inside = nil
			return own.NamespaceAdvice()
		case len(missing) > 0:
			return "Namespaces of its own can be made, but this is missing there: " + strings.Join(missing, ", ") + "."
		}
		return ""
	}
	switch shares := inv.sys.Shares(nil); {
	case inv.mustIsolate():
		commands = append(commands, commandJSON(caged, "in namespaces of its own, where CMD reaches only what it starts itself", within()))
	case len(missing) > 0:
		commands = append(commands, commandJSON(caged, "the connections of CMD", remedy))
	case shares != nil:
		commands = append(commands, commandJSON(caged, fmt.Sprintf("%v, so each connection of this network namespace counts as CMD's", shares), ""))
	default:
		box, err := inv.sys.MakeCage(nil)
		if err == nil {
			err = box.Close()
		}
		if err != nil {
			commands = append(commands, commandJSON(caged, err.Error(), "Use --isolate, or make cgroup v2 writable."))
		} else {
			commands = append(commands, commandJSON(caged, "only the connections of CMD, which runs in a cgroup of its own", ""))
		}
	}
	demo := ""
	if inv.mustEnter() || !own.SysAdmin {
		if demo = within(); demo != "" && own.Root {
			demo = "Network namespaces take CAP_SYS_ADMIN: play it on the host, or as an ordinary user there."
		}
	} else if len(missing) > 0 {
		demo = remedy
	}
	return append(commands, commandJSON(play, "two hosts in network namespaces", demo)), inside
}

// printFeatures prints what works, a command a line, and then the features that were
// found, with what to do about each that is missing.
func (inv *invocation) printFeatures(list, commands []featureJSON) {
	p, width := inv.paint(), inv.columns()
	told := map[string]bool{}
	line := func(mark, name, detail string) {
		fmt.Fprintf(inv.stdout, "%s  %s\n", mark, strings.TrimPrefix(text.Hanging(text.Pad("         "+name, 31), detail, width), "         "))
	}
	tell := func(remedy string) {
		if remedy != "" && !told[remedy] {
			told[remedy] = true
			fmt.Fprintln(inv.stdout, text.Hanging(strings.Repeat(" ", 28)+"-> ", remedy, width))
		}
	}
	works := 0
	for _, c := range commands {
		if c.OK {
			works++
			line(p.Green("works  "), c.Name, c.Detail)
		} else {
			line(p.Yellow("not yet"), c.Name, c.Detail)
			tell(c.Remedy)
		}
	}
	fmt.Fprintln(inv.stdout)
	for _, f := range list {
		switch {
		case f.OK:
			line(p.Green("ok     "), f.Name, f.Detail)
		case f.Needed && works == 0:
			line(p.Red("MISSING"), f.Name, f.Detail)
		case f.Needed:
			line(p.Yellow("missing"), f.Name, f.Detail)
		default:
			line(p.Yellow("absent "), f.Name, f.Detail)
		}
		tell(f.Remedy)
	}
	if works == 0 {
		fmt.Fprintf(inv.stdout, "\nfaultctl cannot work here: %s missing\n", words.Plural(uint64(len(lacking(list))), "needed feature"))
	}
}

// probeInside runs doctor in namespaces of its own, as run and verify do, and returns
// what it found there; nil: namespaces are not permitted.
func probeInside() (list []featureJSON) {
	out, err := cage.Output("doctor", "--output", "json")
	if err != nil || json.Unmarshal(out, &list) != nil {
		return nil
	}
	// Its commands say nothing here.
	return slices.DeleteFunc(list, func(f featureJSON) bool { return strings.ContainsAny(f.Name, ",") || f.Name == "demo" })
}
