// Command tworuns carries out two runs at once in its own process, and changes them
// while they go on:
//
//	tworuns HOST:PORT
//
// It connects to the service, sends a line and reads one back, first under both
// runs, then with a share of 0 for one of them, then with the other one paused, and
// prints what happened. It needs the privileges that faultctl inject needs.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"slices"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
)

func main() {
	slow := start(&faults.Delay{By: 20 * time.Millisecond})
	cut := start(&faults.Reset{At: faults.At("request")})
	fmt.Println("both:", ask())
	check(cut.SetShare(0)) // new connections are left alone
	fmt.Println("delay alone:", ask())
	check(slow.Pause())
	fmt.Println("neither:", ask())
	for _, run := range []*experiment.Run{slow, cut} {
		check(run.Stop())
		for _, e := range slices.SortedStableFunc(run.Events(), byTime) {
			switch e := e.(type) {
			case event.Fired:
				fmt.Println(e.Fault, "fired:", e.Action)
			case event.Changed:
				fmt.Println("changed:", e.Set)
			case event.Paused:
				fmt.Println("paused")
			case event.Ended:
				fmt.Println(e.Fault, "fired on", e.Totals.Fired, "of", e.Flows, "connections")
			}
		}
		check(run.Plan().Close())
	}
}

// start strikes connections to the service with a fault.
func start(model faults.Model) *experiment.Run {
	fault, err := faults.SpecOf(model)
	check(err)
	spec := experiment.Spec{Faults: []faults.Spec{fault}, Target: experiment.Target{To: os.Args[1:]}}
	plan, err := experiment.NewPlan(context.Background(), spec)
	check(err)
	run, err := experiment.Start(context.Background(), plan)
	check(err)
	return run
}

func byTime(a, b event.Event) int { return a.When().Compare(b.When()) }

// ask sends the service a line, and returns its answer or why there is none.
func ask() string {
	c, err := net.Dial("tcp", os.Args[1])
	check(err)
	defer c.Close()
	_, err = fmt.Fprintln(c, "hello")
	check(err)
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err.(*net.OpError).Err.Error()
	}
	return answer[:len(answer)-1]
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
