// Package survival finds out which faults a command survives: it runs the command
// without a fault, and then under each fault of a list, and reports for each case
// what happened to the command, why, and what helps. faultctl verify is its front
// end on the command line.
//
//	spec := survival.Spec{Base: experiment.Spec{
//		Target:  experiment.Target{To: []string{":5432"}},
//		Command: []string{"go", "test", "./storage/..."},
//	}}
//	plan, err := survival.NewPlan(ctx, experiment.NewSystem(), spec)  // nothing is touched
//	defer plan.Close()
//	cases, err := survival.Run(ctx, plan, place.Stage{}, nil, watcher)
//	os.Exit(int(plan.Code(cases)))
//
// It prints nothing: a [Watcher] gets the progress.
package survival
