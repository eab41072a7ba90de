package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

func (h *host) versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version", ArgsUsage: "[flags]",
		Flags:  []cli.Flag{outputFlag(otherHeading)},
		Action: h.version,
	}
}

// build is what the binary knows about itself.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the source, if it was built in a checkout
	Modified bool   `json:"modified"`           // the checkout differed from it
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// stamp is the version that the linker puts into a binary that is packaged:
// -X github.com/faultctl/faultctl/cli.stamp=v1.2.3.
var stamp string

func readBuild() build {
	b := build{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	if stamp != "" {
		b.Version = stamp
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// version is the module's version as the build knows it.
func version() string { return readBuild().Version }

func (h *host) version(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	b := readBuild()
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
