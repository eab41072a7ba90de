// Package scenario is a game day as data, and plays it: the file that describes
// it, its JSON Schema, its timeline, its probes, and the verdict.
//
//	s, err := scenario.Parse("gameday.yaml", text)               // all that is wrong with the file
//	plan, err := scenario.NewPlan(ctx, sys, s, scenario.Options{}) // names resolved, nothing touched
//	err = plan.Preflight()
//	result := scenario.Play(ctx, plan, nil, watcher, scenario.Hooks{})
//
// An entry of its faults is an experiment.Spec and its times. The schema says
// what a file may hold: it checks every file, is published, and is what the docs
// page is made from.
package scenario
