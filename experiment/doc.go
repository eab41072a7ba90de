// Package experiment defines a run and its life for every front end: the
// command line, scenario files and Go programs.
//
//	spec := experiment.Spec{
//		Faults: []faults.Spec{{Name: "idle-expire", Knobs: [][2]string{{"after", "300s"}}}},
//		Target: experiment.Target{To: []string{":5432"}},
//	}
//	plan, err := experiment.NewPlan(ctx, spec)  // names resolved, namespace opened, nothing touched
//	run, err := experiment.Start(ctx, plan)     // the rules are in: the next matching packet is judged
//	…
//	err = run.Stop()                            // everything is as it was before
//
// A [Spec] is plain data in the words of the command line's flags and of scenario files;
// faults.SpecOf turns a fault that is a Go value into that form. A [Plan] is a Spec that
// was resolved on this host. A [Run] can be watched, changed, paused and stopped from any
// goroutine. Errors are values of package event: each has a code, the word of the Spec
// that it is about, and advice on what to do next.
package experiment
