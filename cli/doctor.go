package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/faultctl/faultctl/internal/words"
	urfave "github.com/urfave/cli/v2"
)

func (h *host) doctorCommand() *urfave.Command {
	return &urfave.Command{
		Name: "doctor", Usage: "what this kernel and user can do, and what to do about each miss",
		ArgsUsage: "[flags]", Flags: []urfave.Flag{outputFlag(otherHeading)},
		Action: h.doctor,
	}
}

// featureJSON is a feature as programs read it.
type featureJSON struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Needed bool   `json:"needed"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"` // only of a miss
}

// doctor tries everything and leaves nothing behind. It ends with 5 if
// something is missing without which nothing works.
func (h *host) doctor(c *urfave.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	list := []featureJSON{}
	missing, denied := 0, 0
	for _, f := range h.probe() {
		j := featureJSON{f.Name, f.OK, f.Needed, f.Detail, ""}
		if !f.OK {
			j.Remedy = f.Remedy
		}
		if f.Needed && !f.OK {
			missing++
			if f.Denied {
				denied++
			}
		}
		list = append(list, j)
	}
	if asJSON {
		enc := json.NewEncoder(h.stdout)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(list); err != nil {
			return err
		}
	} else {
		h.examine(list, missing, denied)
	}
	if missing > 0 {
		return quietExit(exitPreflight)
	}
	return nil
}

// examine prints one line a feature, and under each miss what to do. Rights are
// no hindrance to what makes itself a namespace in which it has them.
func (h *host) examine(list []featureJSON, missing, denied int) {
	p, width := h.paint(), h.columns()
	told := map[string]bool{}
	for _, f := range list {
		mark := p.green("ok     ")
		switch {
		case !f.OK && f.Needed:
			mark = p.red("MISSING")
		case !f.OK:
			mark = p.yellow("absent ")
		}
		fmt.Fprintf(h.stdout, "%s  %s", mark, strings.TrimPrefix(hanging(pad("         "+f.Name, 27), f.Detail, width), "         "))
		fmt.Fprintln(h.stdout)
		if f.Remedy != "" && !told[f.Remedy] {
			told[f.Remedy] = true
			fmt.Fprintln(h.stdout, hanging(strings.Repeat(" ", 24)+"-> ", f.Remedy, width))
		}
	}
	switch {
	case missing > 0 && missing == denied:
		fmt.Fprintln(h.stdout, "\n"+wrap("faultctl inject and scenario run take rights that this user has not; run, verify and demo make a namespace of their own, where users may.", "", width))
	case missing > 0:
		fmt.Fprintf(h.stdout, "\nfaultctl cannot work here: %s missing\n", words.Plural(uint64(missing), "needed feature"))
	default:
		fmt.Fprintln(h.stdout, "\nfaultctl works here")
	}
}
