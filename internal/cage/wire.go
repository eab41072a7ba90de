package cage

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"

	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"golang.org/x/sys/unix"
)

// A request is what this process asks its launcher. Descriptors come with it.
type request struct {
	Do verb

	Kind   kind                // make: which cage; with a network namespace if there is one
	Path   string              // start: with the three standard files, and a pipe for how it ends
	Args   []string            // start
	Env    []string            // start
	Dir    string              // start
	Group  bool                // start: in a process group of its own
	As     *syscall.Credential // start: as that user
	Signal syscall.Signal      // signal
	PID    int                 // signal: to a process that the cage has started
}

type verb uint8

const (
	doMake  verb = iota // make a cage: the answer comes with a socket for it, and its network namespace
	doStart             // the others are about the cage of their socket
	doSignal
	doEmpty
	doClose
)

type kind uint8

const (
	fittingKind kind = iota // what New makes
	netnsKind
	looseKind
)

// An answer says what became of a request.
type answer struct {
	PID   int
	Owner target.Owner
	NetNS bool

	Text  string        // of an error; empty: none
	Errno syscall.Errno // its cause, if the kernel gave one
	Cause cause
}

// cause is an error of this module that the caller tells apart.
type cause uint8

const (
	noCause cause = iota
	permission
	notSupported
)

// fail puts an error into an answer.
func (a *answer) fail(err error) {
	if err == nil {
		return
	}
	a.Text = err.Error()
	errors.As(err, &a.Errno)
	switch {
	case errors.Is(err, injector.ErrPermission):
		a.Cause = permission
	case errors.Is(err, injector.ErrNotSupported):
		a.Cause = notSupported
	}
}

// err is the error in an answer.
func (a *answer) err() error {
	if a.Text == "" {
		return nil
	}
	return &remoteError{a.Text, a.Errno, a.Cause}
}

// remoteError is an error of the launcher.
type remoteError struct {
	text  string
	errno syscall.Errno
	cause cause
}

func (e *remoteError) Error() string { return e.text }

func (e *remoteError) Unwrap() error {
	switch {
	case e.cause == permission:
		return injector.ErrPermission
	case e.cause == notSupported:
		return injector.ErrNotSupported
	case e.errno != 0:
		return &fs.PathError{Op: "start", Err: e.errno}
	}
	return nil
}

// most is how long a message may be: more than execve takes of arguments and
// environment.
const most = 16 << 20

// mostFiles is how many descriptors come with a message at most.
const mostFiles = 4

// send sends a message with descriptors, which stay open here.
func send(conn *net.UnixConn, message any, files ...*os.File) error {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(message); err != nil {
		return err
	}
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	var rights []byte
	if fds != nil {
		rights = unix.UnixRights(fds...)
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(b.Len()))
	if _, _, err := conn.WriteMsgUnix(head, rights, nil); err != nil {
		return err
	}
	_, err := conn.Write(b.Bytes())
	return err
}

// receive reads a message and its descriptors, which the caller closes. The error is
// io.EOF when the other end is gone.
func receive(conn *net.UnixConn, message any) (files []*os.File, err error) {
	defer func() {
		if err != nil {
			closeAll(files)
			files = nil
		}
	}()
	var head [4]byte
	oob := make([]byte, unix.CmsgSpace(4*mostFiles))
	n, oobn, flags, _, err := conn.ReadMsgUnix(head[:], oob)
	if err != nil || n == 0 {
		return nil, io.EOF
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return files, err
		}
		for _, fd := range fds { // Go asks for them with close-on-exec set
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	size := binary.BigEndian.Uint32(head[:])
	if flags&unix.MSG_CTRUNC != 0 || n != len(head) || size > most {
		return files, errors.New("a message that is not whole")
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(conn, b); err != nil {
		return files, err
	}
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(message); err != nil {
		return files, fmt.Errorf("a message that is none: %w", err)
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// pair makes two ends of a socket.
func pair() (here *net.UnixConn, there *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	there = os.NewFile(uintptr(fds[1]), "there")
	if here, err = connOf(os.NewFile(uintptr(fds[0]), "here")); err != nil {
		there.Close()
		return nil, nil, err
	}
	return here, there, nil
}

// connOf makes a file a connection, and closes the file.
func connOf(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, is := c.(*net.UnixConn)
	if !is {
		c.Close()
		return nil, errors.New("it is no unix socket")
	}
	return u, nil
}
