package scenario

import (
	_ "embed"
	"strings"
)

//go:embed init.yaml
var template string

// Template is a scenario to begin with: faults on the connections to a target, such
// as :5432, and a probe of the service behind it. Empty: PostgreSQL on this host.
func Template(to string) string {
	if to == "" {
		to = ":5432"
	}
	probe := to
	if strings.HasPrefix(to, ":") {
		probe = "127.0.0.1" + to
	}
	return strings.NewReplacer("TARGET", to, "PROBE", probe).Replace(template)
}
