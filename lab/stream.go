package lab

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"
)

// pattern is what Pour sends, repeatedly. The period of 251 bytes is prime, so that
// data in the wrong place is noticed.
var pattern = func() []byte {
	b := make([]byte, 251<<8)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}()

// Pour sends n bytes of a known pattern, as fast as the connection accepts them.
// They continue the stream of the App's earlier Pours.
func (a *App) Pour(n int) error {
	for n > 0 {
		from := a.poured % 251
		b := pattern[from:min(len(pattern), from+n)]
		sent, err := unix.SendmsgN(a.fd, b, nil, nil, unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("send, %d bytes before the end: %s", n, Errno(err))
		}
		a.poured += sent
		n -= sent
	}
	return nil
}

// Drain receives n bytes that the other end pours, and checks that they are the
// expected ones, in order.
func (a *App) Drain(n int) error {
	buf := make([]byte, len(pattern)-251)
	for n > 0 {
		got, err := unix.Read(a.fd, buf[:min(n, len(buf))])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return fmt.Errorf("receive, %d bytes before the end: %s", n, Errno(err))
		case got == 0:
			return fmt.Errorf("receive: the stream ended %d bytes too early", n)
		}
		from := a.drained % 251
		if !bytes.Equal(buf[:got], pattern[from:from+got]) {
			return fmt.Errorf("received bytes that differ from what was sent, within %d after the first %d", got, a.drained)
		}
		a.drained += got
		n -= got
	}
	return nil
}

// Readable reports whether Recv would return at once.
func (a *App) Readable() bool {
	fds := []unix.PollFd{{Fd: int32(a.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return n > 0 && err == nil
}
