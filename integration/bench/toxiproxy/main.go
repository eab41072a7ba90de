// Command toxiproxy runs Toxiproxy with one proxy and one toxic that never
// strikes, to measure what a user-space proxy costs while it waits. It is a
// separate module, so that faultctl does not get Toxiproxy's dependencies.
//
//	toxiproxy LISTEN UPSTREAM
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

func main() {
	if len(os.Args) != 3 {
		os.Exit(2)
	}
	log := zerolog.New(io.Discard)
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), log)
	proxy := toxiproxy.NewProxy(server, "bench", os.Args[1], os.Args[2])
	if err := server.Collection.Add(proxy, true); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// With toxicity 0 the toxic never strikes.
	toxic := `{"name":"late","type":"latency","stream":"downstream","toxicity":0,"attributes":{"latency":1000}}`
	if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ready")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	proxy.Stop()
}
