package main

import (
	"net"
	"strconv"

	"github.com/twmb/franz-go/pkg/kfake"
)

// kafkaServer is a broker that keeps nothing.
func kafkaServer(at string) error {
	_, port, err := net.SplitHostPort(at)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	_, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(n), kfake.SeedTopics(1, "bugs"),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) { return net.Listen(network, at) }))
	if err != nil {
		return err
	}
	select {}
}
