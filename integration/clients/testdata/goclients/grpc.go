package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
)

func grpcServer(at string) error {
	ln, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	s := grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}))
	healthpb.RegisterHealthServer(s, health.NewServer())
	return s.Serve(ln)
}

// grpcClient makes a call, and further ones after a pause until one succeeds.
func grpcClient(host string, o options) error {
	dial := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if d := o.duration("Timeout"); d > 0 { // Time is at least 10 s, which grpc-go enforces
		dial = append(dial, grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: d, PermitWithoutStream: true}))
	}
	conn, err := grpc.NewClient(host+":50051", dial...)
	if err != nil {
		return err
	}
	defer conn.Close()
	check := func() error {
		_, err := healthpb.NewHealthClient(conn).Check(context.Background(), &healthpb.HealthCheckRequest{})
		return err
	}
	if err := check(); err != nil {
		return fmt.Errorf("the first time: %w", err)
	}
	time.Sleep(2 * time.Second)
	for range 2 {
		if err = check(); err == nil {
			fmt.Println("fine")
			return nil
		}
		fmt.Println(err)
	}
	return err
}
