package cli

import (
	"io"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/evidence"
	"github.com/faultctl/faultctl/internal/cage"
	"github.com/faultctl/faultctl/internal/words"
)

// invocation is the state of one command line.
type invocation struct {
	*host
	stdout      io.Writer // that of the host, watched; both escape what a terminal would not show
	stderr      io.Writer
	finishing   func()                            // says that nothing is left to do but to write; any goroutine may call it
	events      *event.Writer                     // to stdout
	command     []string                          // behind --, for run and verify
	args        []string                          // of the command line, the program's name first
	path        string                            // of the command, without a FAULT
	name        string                            // of the command, such as faultctl scenario run
	json        bool                              // --output json
	markdown    bool                              // --output markdown
	quiet       bool                              // --quiet
	dryRun      bool                              // --dry-run
	showSecrets bool                              // --show-secrets
	logger      *slog.Logger                      // for --log-level
	asRun       bool                              // its exit codes are those of run
	noFault     error                             // what the command line names as a FAULT is none
	trusted     bool                              // --recorded-command: what a recording names may be run
	keeper      *cage.Launcher                    // makes cages with the rights that were given up; nil: none were
	leaving     atomic.Pointer[evidence.Evidence] // what a second signal has to write first; nil: nothing
}

// read reads the flags that mean the same for every command.
func (inv *invocation) read(c *call) (err error) {
	inv.path, inv.name, inv.dryRun = c.CommandPath(), helpName(c.Command), c.Bool("dry-run")
	inv.quiet = c.Bool("quiet")
	inv.showSecrets = c.Flag("show-secrets") != nil && c.Bool("show-secrets")
	value := func(name string) string {
		if c.Flag(name) == nil {
			return ""
		}
		return c.String(name)
	}
	switch o := value("output"); {
	case o == "json":
		inv.json = true
	case o == "markdown" && c.Name() == "faults":
		inv.markdown = true
	case o != "" && o != "text":
		return usageError("%s: --output %q is neither text nor json%s", c.Name(), o, words.DidYouMean(o, []string{"text", "json"}))
	}
	inv.logger, err = inv.newLogger(value("log-level"))
	return err
}

// newLogger returns the logger for a value of --log-level, which may be empty. It
// writes to stderr.
func (inv *invocation) newLogger(level string) (*slog.Logger, error) {
	levels := map[string]slog.Level{"": slog.LevelWarn, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	least, ok := levels[strings.ToLower(level)]
	if !ok {
		return nil, usageError("--log-level %s: it is debug, info, warn or error%s", level,
			words.DidYouMean(level, []string{"debug", "info", "warn", "error"}))
	}
	return slog.New(slog.NewTextHandler(inv.stderr, &slog.HandlerOptions{Level: least})), nil
}
