// Command faultctl makes TCP connections die as they do in production.
package main

import (
	"os"

	"github.com/faultctl/faultctl/cli"
	_ "github.com/faultctl/faultctl/internal/openfiles" // first of all
)

func main() { os.Exit(cli.Main(os.Args)) }
