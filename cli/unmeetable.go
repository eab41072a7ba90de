package cli

import "github.com/faultctl/faultctl/injector/target"

// unmeetable says why no packet can ever match m: a run that can only end in
// "never fired" is a mistake in the flags.
func unmeetable(m target.Matcher) error {
	switch {
	case m.MixedFamilies():
		return usageError("--to and --from: one names IPv4 addresses only, the other IPv6 addresses only: no connection has both").
			hint("Give the addresses of one family, or of both in both flags.")
	case m.AllExcepted():
		return usageError("--to: what the ! excludes leaves out all that --to names").
			hint("A ! takes a part out of what the other --to name, such as --to 10.0.0.0/8:5432 --to '!10.0.0.7'.")
	}
	return nil
}
