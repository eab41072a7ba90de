// Package version says which version of faultctl this is.
package version

import (
	"runtime"
	"runtime/debug"
)

// Build is what the binary knows about itself.
type Build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the source, if it was built in a checkout
	Modified bool   `json:"modified"`           // the checkout differed from it
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// stamp is the version that the linker puts into a binary that is packaged:
// -X github.com/faultctl/faultctl/internal/version.stamp=v1.2.3.
var stamp string

// Read returns what the binary knows about itself.
func Read() Build {
	b := Build{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
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

// String is the module's version as the build knows it.
func String() string { return Read().Version }
