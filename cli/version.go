package cli

import (
	"encoding/json"
	"fmt"

	"github.com/faultctl/faultctl/internal/version"
	urfave "github.com/urfave/cli/v2"
)

func (h *host) versionCommand() *urfave.Command {
	return &urfave.Command{
		Name: "version", Usage: "print the version", ArgsUsage: "[flags]",
		Flags:  []urfave.Flag{outputFlag(otherHeading)},
		Action: h.version,
	}
}

func (h *host) version(c *urfave.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	b := version.Read()
	if asJSON {
		return json.NewEncoder(h.stdout).Encode(b)
	}
	fmt.Fprintf(h.stdout, "faultctl %s", b.Version)
	if b.Revision != "" {
		fmt.Fprintf(h.stdout, " (%.12s)", b.Revision)
	}
	fmt.Fprintf(h.stdout, " %s %s\n", b.Go, b.Platform)
	return nil
}
