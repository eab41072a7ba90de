// Package scenario plays game days that are described in files. It has the file
// format, its JSON Schema, the timeline, the probes, and the verdict.
//
//	s, err := scenario.Parse("gameday.yaml", text)               // all that is wrong with the file
//	plan, err := scenario.NewPlan(ctx, sys, s, scenario.Options{}) // names resolved, nothing touched
//	err = plan.Preflight()
//	result := scenario.Play(ctx, plan, nil, watcher, scenario.Hooks{})
//
// Each fault entry is an experiment.Spec with its times. The schema defines what
// a file may contain: every file is checked against it, it is published, and the
// docs page is generated from it.
package scenario
