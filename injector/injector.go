package injector

import (
	"context"
	"errors"
)

// An Injector carries out one Config.
type Injector struct {
	cfg Config
}

// New checks cfg and prepares a run. It touches nothing outside the process.
// The error is an ErrConfig.
func New(cfg Config) (*Injector, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Injector{cfg: cfg}, nil
}

// Run puts the rules in, judges packets until ctx is done, and takes
// everything out again. It returns only after its goroutines have, and nil if
// it ended because of ctx. It may be called once.
func (i *Injector) Run(ctx context.Context) error {
	return errors.New("not built yet")
}

// Stats returns the counters as they are now. Any goroutine may call it, during
// Run and after.
func (i *Injector) Stats() Snapshot { return Snapshot{} }

// Ruleset returns the rules that Run would put in, in nft syntax.
func (i *Injector) Ruleset() string { return "" }

// A Feature is something the kernel and the user's rights must allow.
type Feature struct {
	Name   string
	OK     bool
	Needed bool   // without it nothing works; otherwise something is lost, which Remedy says
	Detail string // what was found
	Remedy string // what to do about a miss
}

// Probe finds out what this kernel and user can do in the caller's network
// namespace, by trying it. It leaves nothing behind.
func Probe() []Feature { return nil }

// Cleanup removes the tables that instances which are no longer alive left in
// the caller's network namespace, and returns their names.
func Cleanup() ([]string, error) { return nil, nil }
