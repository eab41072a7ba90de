package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"

	"github.com/faultctl/faultctl/lab"
	nfq "github.com/florianl/go-nfqueue/v2"
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// goLoopCommand makes this program run the loop of go-nfqueue's README.
const goLoopCommand = "go-nfqueue"

// goLoop accepts all packets of a queue, as go-nfqueue's README shows, and prints
// their number at the end.
func goLoop(queue string) int {
	number, err := strconv.ParseUint(queue, 10, 16)
	if err != nil {
		return 2
	}
	nf, err := nfq.Open(&nfq.Config{
		NfQueue: uint16(number), MaxPacketLen: 0xffff, MaxQueueLen: 1 << 16, Copymode: nfq.NfQnlCopyPacket,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer nf.Close()
	var packets atomic.Uint64
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err = nf.RegisterWithErrorFunc(ctx, func(a nfq.Attribute) int {
		packets.Add(1)
		nf.SetVerdict(*a.PacketID, nfq.NfAccept)
		return 0
	}, func(error) int {
		if ctx.Err() != nil {
			return 1
		}
		return 0
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("ready")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	fmt.Println(packets.Load())
	return 0
}

// divert queues every packet to and from a port of the host, and returns a function
// that undoes this.
func divert(n *lab.Node, port, queue uint16) (func(), error) {
	c, err := nftables.New(nftables.WithNetNSFd(int(n.NS.Fd())), nftables.AsLasting())
	if err != nil {
		return nil, err
	}
	info := xt.Unknown{}
	for _, v := range []uint16{queue, 1, 1, 0} {
		info = append(info, binaryutil.NativeEndian.PutUint16(v)...)
	}
	for _, to := range []expr.Any{
		&expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info},
		&expr.Queue{Num: queue, Total: 1, Flag: expr.QueueFlagBypass},
	} {
		t := c.CreateTable(&nftables.Table{Name: "bench", Family: nftables.TableFamilyINet})
		for name, at := range map[string]struct {
			hook   *nftables.ChainHook
			offset uint32
		}{"input": {nftables.ChainHookInput, 2}, "output": {nftables.ChainHookOutput, 0}} {
			chain := c.AddChain(&nftables.Chain{
				Name: name, Table: t, Type: nftables.ChainTypeFilter, Hooknum: at.hook, Priority: nftables.ChainPriorityMangle,
			})
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{
				&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: at.offset, Len: 2},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
				to,
			}})
		}
		if err = c.Flush(); err == nil {
			return func() {
				c.DelTable(t)
				c.Flush()
				c.CloseLasting()
			}, nil
		}
	}
	c.CloseLasting()
	return nil, fmt.Errorf("queue port %d: %w", port, err)
}
