package cli

import (
	"errors"
	"io"
	"net"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/spf13/cobra"
)

func (inv *invocation) connectCommand() *cobra.Command {
	return inv.complete(&cobra.Command{
		Use: "connect SOCKET", Short: "join standard input and output to the socket of faultctl serve",
		Long: "It is for programs that reach a machine or a container only by running a command there, as ssh and kubectl exec do: " +
			"what they write is sent to the socket, and what it answers is printed, until either ends. Both HTTP/1.1 and HTTP/2 without TLS are understood there.",
		Example: "faultctl connect /run/faultctl.sock\n" +
			"printf 'GET /v1/process HTTP/1.0\\r\\n\\r\\n' | ssh db1 faultctl connect /run/faultctl.sock",
	}, nil, inv.connect)
}

// connect copies until the socket says no more. The end of standard input is told
// to the socket, whose answers are still awaited.
func (inv *invocation) connect(c *call) error {
	switch len(c.words) {
	case 0:
		return usageError("connect: which SOCKET? It is the one that faultctl serve --socket was given")
	case 1:
	default:
		return usageError("connect: unexpected argument %q", c.words[1])
	}
	conn, err := net.Dial("unix", c.first())
	if err != nil {
		return event.Failuref("", "connect to %s: %w", c.first(), aboutDial(err)).WithAdvice("faultctl serve --socket " + c.first() + " listens there.")
	}
	defer conn.Close()
	go func() {
		io.Copy(conn, inv.host.stdin)
		conn.(*net.UnixConn).CloseWrite()
	}()
	if _, err := io.Copy(inv.host.stdout, conn); err != nil {
		return event.Failuref("", "copy from %s: %w", c.first(), aboutDial(err))
	}
	return nil
}

// aboutDial is an error of net without the address, which the message has.
func aboutDial(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
