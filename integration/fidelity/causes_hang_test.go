package fidelity

import (
	"io"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/faultctl/faultctl/faults"
	"golang.org/x/sys/unix"
)

// hangCauses are servers that hang in the middle of an answer: in the genuine lane a
// process that was stopped by a signal.
var hangCauses = []cause{
	{
		name: "hang", fault: "hang:at=bytes=10,bytes-of=server", watch: faults.Client,
		genuine: "the server's process sends the first half of an answer and is stopped (SIGSTOP); the client sends more, and its keepalive probes are answered",
		before:  probing(opened), act: stopped(0), healthy: answering,
		then: []string{
			"S>C [P.] seq=1 ack=1 len=10", `send("hello") = 5`, "quiet", "within 2500ms", "recv() = " + half, `recv() = EAGAIN`,
		},
		shows: []string{
			"S>C [P.] seq=1 ack=1 len=10", "C>S [P.] seq=1 ack=11 len=5", "S>C [.] seq=11 ack=6 len=0",
			"C>S [.] seq=5 ack=11 len=0", "S>C [.] seq=11 ack=6 len=0",
		},
	},
	{
		name: "hang, over", fault: "hang:at=bytes=10,bytes-of=server,for=1s", watch: faults.Client,
		genuine: "the server's process sends the first half of an answer, is stopped (SIGSTOP), and goes on after a second (SIGCONT)",
		before:  opened, act: stopped(time.Second), healthy: answering,
		then:  []string{"recv() = " + half, "recv() = " + half},
		shows: []string{"S>C [P.] seq=1 ack=1 len=10", "C>S [.] seq=1 ack=11 len=0", "S>C [P.] seq=11 ack=1 len=10"},
	},
	{
		name: "hang, window closes", fault: "hang:at=bytes=2000", watch: faults.Client,
		genuine: "the server's process, whose receive buffer has a fixed size, is stopped (SIGSTOP) in mid-answer; the client sends until the window is closed",
		script: func(p *play) {
			p.must(p.ln.SetInt(unix.SOL_SOCKET, unix.SO_RCVBUF, 16384))
			exchanged(p)
			p.do()
			p.await(func(l line) bool { return fits(l, "S>C [P.] seq=5 ack=5 len=10", p.v6) })
			p.quiet()
			p.pour()
		},
		act: stopped(0), healthy: answering,
		notOn: map[placement]string{loopback: "the window of a socket that is not read opens for a while: see stall"},
		shows: []string{"S>C [P.] seq=5 ack=5 len=10", "C>S [P.] seq=5 ack=15 len=1024", "S>C [.] win=0"},
	},
}

// answerEnv makes the test binary a server that reads whatever comes, and answers in
// two halves.
const answerEnv = "FAULTCTL_TEST_ANSWER"

// half is half of the answer.
const half = "0123456789"

// halfTime is the time between the halves of the answer: long enough to stop the
// server in between.
const halfTime = 400 * time.Millisecond

func answerInHalves() {
	c, err := net.FileConn(os.NewFile(3, "connection"))
	if err != nil {
		panic(err)
	}
	go io.Copy(io.Discard, c)
	io.WriteString(c, half)
	time.Sleep(halfTime)
	io.WriteString(c, half)
	time.Sleep(time.Minute)
}

// serve has a process of its own serve the connection.
func (p *play) serve() *os.Process {
	p.t.Helper()
	f, err := p.server.File()
	p.must(err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), answerEnv+"=1")
	cmd.ExtraFiles = []*os.File{f}
	p.must(cmd.Start(), f.Close())
	p.cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd.Process
}

func answering(p *play) { p.serve() }

// stopped has the process stop after the first half of the answer, for that time; 0:
// for good.
func stopped(d time.Duration) func(*play) {
	return func(p *play) {
		server := p.serve()
		p.awaitAt(p.ends[faults.Server], func(l line) bool { return fits(l, "S>C [P.] len=10", p.v6) })
		p.must(server.Signal(unix.SIGSTOP))
		if d > 0 {
			at := time.AfterFunc(d, func() { server.Signal(unix.SIGCONT) })
			p.cleanup(func() { at.Stop() })
		}
	}
}
