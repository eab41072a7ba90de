package cli

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// call is a command as it was called: its flags are parsed.
type call struct {
	*cobra.Command
	words []string // that are no flags; those behind -- too, unless they are a command to run
}

// String returns the value of a flag that takes one.
func (c *call) String(name string) string { return c.Flag(name).Value.String() }

// StringSlice returns the values of a flag that can be repeated.
func (c *call) StringSlice(name string) []string {
	if f := c.Flag(name); f != nil {
		return f.Value.(*listValue).GetSlice()
	}
	return nil
}

// Bool reports whether a toggle is on.
func (c *call) Bool(name string) bool {
	f := c.Flag(name)
	return f != nil && f.Value.String() == "true"
}

// IsSet reports whether a flag was given, on the command line or in the environment.
func (c *call) IsSet(name string) bool { return c.Flags().Changed(name) }

// first is the first of the words, or nothing.
func (c *call) first() string {
	if len(c.words) == 0 {
		return ""
	}
	return c.words[0]
}

// complete adds the flags of a command, what completes their values, and what
// carries it out. What do is called with has read the environment.
func (inv *invocation) complete(cmd *cobra.Command, flags []*pflag.Flag, do func(*call) error) *cobra.Command {
	set, now := cmd.Flags(), map[string]string{}
	set.SortFlags = false
	for _, f := range flags {
		set.AddFlag(f)
		for _, old := range f.Annotations[oldSpellings] {
			now[old] = f.Name
		}
		if takesValue(f) {
			cmd.RegisterFlagCompletionFunc(f.Name, inv.valueCompletion(cmd.Annotations[faultNamed], f.Name)) // fails for unknown flags only
		}
	}
	set.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if to, is := now[name]; is {
			name = to
		}
		return pflag.NormalizedName(name)
	})
	cmd.DisableFlagsInUseLine = true
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(_ *cobra.Command, words []string) error {
		c := &call{cmd, words}
		if i := cmd.ArgsLenAtDash(); i >= 0 && takesCommand(cmd) {
			c.words, inv.command = words[:i], words[i:]
		}
		if err := readEnvironment(cmd); err != nil {
			return err
		}
		if err := inv.read(c); err != nil {
			return err
		}
		return do(c)
	}
	return cmd
}

// readEnvironment gives the flags of a command that the command line does not
// name the values that their environment variables have.
func readEnvironment(cmd *cobra.Command) (err error) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		for _, name := range slices.Concat([]string{f.Name}, f.Annotations[oldSpellings]) {
			value, is := os.LookupEnv(envVar(name))
			if !is || f.Changed || f.Name == "help" {
				continue
			}
			if _, notBool := strconv.ParseBool(value); !takesValue(f) && value != "" && notBool != nil {
				err = neitherTrueNorFalse(cmd, envVar(name), value)
			} else if takesValue(f) || value != "" {
				err = cmd.Flags().Set(f.Name, value)
			}
		}
	})
	return err
}

// takesCommand reports whether what stands behind -- is a command to run.
func takesCommand(cmd *cobra.Command) bool {
	return cmd.Name() == "run" && cmd.Parent() == cmd.Root() || cmd.Name() == "verify" || cmd.Name() == "replay"
}

// noArguments refuses arguments behind a command that takes none.
func noArguments(c *call) error {
	if len(c.words) > 0 {
		return usageError("%s: unexpected argument %q", c.Name(), c.first())
	}
	return nil
}

// faultNamed annotates a command with the FAULT that it was called with.
const faultNamed = "fault"

// helpName is what starts a command: its path, and the FAULT that it is called with.
func helpName(cmd *cobra.Command) string {
	return strings.TrimSpace(cmd.CommandPath() + " " + cmd.Annotations[faultNamed])
}

// shortName is that without the program.
func shortName(cmd *cobra.Command) string { return strings.TrimPrefix(helpName(cmd), "faultctl ") }

// takesFault reports whether a command is followed by a FAULT.
func takesFault(cmd *cobra.Command) bool { return strings.Contains(cmd.Use, "FAULT") }

func neitherTrueNorFalse(cmd *cobra.Command, where, value string) error {
	return usageError("%s: %s=%s: it is true or false", shortName(cmd), where, value)
}
