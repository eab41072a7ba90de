// Kubectl-faultctl is the plugin kubectl faultctl: TCP faults in the pods of a
// cluster. See docs/KUBERNETES.md.
package main

import (
	"os"

	"github.com/faultctl/faultctl/kubernetes/plugin"
)

func main() { os.Exit(plugin.Main(os.Args[1:])) }
