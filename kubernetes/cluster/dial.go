package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

// Dial connects to faultctl serve in a container, through the API server and the
// kubelet: faultctl connect, run there, joins the stream to the socket. So no port is
// opened in the pod, no secret is in its spec, and no fault strikes the stream.
//
// It returns at once: if the container cannot be reached, reading fails. The
// connection ends with ctx.
func (c *Cluster) Dial(ctx context.Context, pod, container string) (net.Conn, error) {
	executor, err := c.exec(pod, &corev1.PodExecOptions{Container: container, Command: []string{binary, "connect", socket}, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	in, toIn := io.Pipe()
	fromOut, out := io.Pipe()
	s := &stream{Reader: fromOut, Writer: toIn, cancel: cancel}
	go func() {
		var said bytes.Buffer
		err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: out, Stderr: &limited{w: &said, left: 4096}})
		if text := strings.TrimSpace(said.String()); text != "" {
			err = errors.New(text)
		}
		if err == nil {
			err = io.EOF
		} else {
			err = fmt.Errorf("pod %s: %w", pod, err)
		}
		out.CloseWithError(err)
		in.CloseWithError(err)
		cancel()
	}()
	return s, nil
}

// exec runs a command in a container of a pod.
func (c *Cluster) exec(pod string, o *corev1.PodExecOptions) (remotecommand.Executor, error) {
	req := c.Client.CoreV1().RESTClient().Post().Resource("pods").Namespace(c.Namespace).Name(pod).SubResource("exec").
		VersionedParams(o, scheme.ParameterCodec)
	spdy, err := remotecommand.NewSPDYExecutor(c.Config, "POST", req.URL())
	if err != nil {
		return nil, err
	}
	ws, err := remotecommand.NewWebSocketExecutor(c.Config, "GET", req.URL().String())
	if err != nil {
		return nil, err
	}
	// A user who may not "get" pods/exec, as API servers before 1.35 ask of WebSockets,
	// may "create" it, as all ask of SPDY.
	return remotecommand.NewFallbackExecutor(ws, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
}

// stream is a connection without deadlines: who uses it bounds requests by contexts.
type stream struct {
	io.Reader
	io.Writer
	cancel context.CancelFunc
	once   sync.Once
}

// Close ends standard input, by which the other side ends too, and then the rest.
func (s *stream) Close() error {
	s.once.Do(func() {
		s.Writer.(*io.PipeWriter).Close()
		s.Reader.(*io.PipeReader).Close()
		s.cancel()
	})
	return nil
}

func (s *stream) LocalAddr() net.Addr              { return nowhere{} }
func (s *stream) RemoteAddr() net.Addr             { return nowhere{} }
func (s *stream) SetDeadline(time.Time) error      { return nil }
func (s *stream) SetReadDeadline(time.Time) error  { return nil }
func (s *stream) SetWriteDeadline(time.Time) error { return nil }

// nowhere is the address of a stream.
type nowhere struct{}

func (nowhere) Network() string { return "exec" }
func (nowhere) String() string  { return "exec" }

// limited keeps the first bytes of what is written.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	n := min(len(b), l.left)
	l.left -= n
	l.w.Write(b[:n])
	return len(b), nil
}
