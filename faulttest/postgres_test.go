package faulttest_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faulttest"
)

// TestPostgreSQL holds that a test without root can start PostgreSQL, which
// refuses to run as root, and strike a connection to it.
func TestPostgreSQL(t *testing.T) {
	if len(postgres("initdb")) == 0 {
		lacking(t, "PostgreSQL", errors.New("there is no /usr/lib/postgresql/*/bin/initdb"))
	}
	if !unprivileged(t) {
		return
	}
	addr := startPostgres(t)
	device := faulttest.Inject(t, &faults.IdleExpire{After: 500 * time.Millisecond, Then: "rst-both"}, faulttest.To(addr))
	idle := session(t, addr)
	if err := selectOne(idle); err != nil {
		t.Fatalf("a busy session: %v", err)
	}
	for deadline := time.Now().Add(10 * time.Second); device.Fired() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the idle session was not struck")
		}
	}
	if err := selectOne(idle); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a session that was idle for too long: %v", err)
	}
	if err := selectOne(session(t, addr)); err != nil {
		t.Errorf("a new session: %v", err)
	}
}

// postgres finds a program of PostgreSQL, which Debian keeps out of PATH. It is
// empty if there is none.
func postgres(program string) string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1]
}

// startPostgres starts a database until the end of the test.
func startPostgres(t *testing.T) (addr string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	out, err := exec.Command(postgres("initdb"), "-D", dir, "-U", "postgres", "--auth=trust", "--no-sync", "--no-locale", "-E", "UTF8").CombinedOutput()
	if err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	var log strings.Builder
	db := exec.Command(postgres("postgres"), "-D", dir, "-p", "5432", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "fsync=off", "-c", "shared_buffers=16MB")
	db.Stdout, db.Stderr = &log, &log
	if err := db.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		db.Process.Signal(syscall.SIGINT) // fast shutdown
		if err := db.Wait(); err != nil || t.Failed() {
			t.Logf("postgres: %v\n%s", err, &log)
		}
	})
	addr = "127.0.0.1:5432"
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := login(addr)
		if err == nil {
			c.Close()
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatalf("postgres does not answer: %v", err)
		}
	}
}

func session(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := login(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// login opens a session: protocol 3.0, StartupMessage.
func login(addr string) (net.Conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	startup := "\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00"
	if err = send(c, "", startup); err == nil {
		err = untilReady(c)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// selectOne sends a simple query and reads its answer.
func selectOne(c net.Conn) error {
	if err := send(c, "Q", "SELECT 1\x00"); err != nil {
		return err
	}
	return untilReady(c)
}

// send sends a message: its type, its length with itself, and its text.
func send(c net.Conn, kind, text string) error {
	_, err := c.Write(append(binary.BigEndian.AppendUint32([]byte(kind), uint32(4+len(text))), text...))
	return err
}

// untilReady reads messages until ReadyForQuery.
func untilReady(c net.Conn) error {
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		var head [5]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return err
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(c, body); err != nil {
			return err
		}
		switch head[0] {
		case 'Z':
			return nil
		case 'E':
			return fmt.Errorf("the database says %q", body)
		}
	}
}

// TestPostgreSQLRefusesRoot holds that the database is one that the test is about.
func TestPostgreSQLRefusesRoot(t *testing.T) {
	if len(postgres("initdb")) == 0 {
		lacking(t, "PostgreSQL", errors.New("there is no /usr/lib/postgresql/*/bin/initdb"))
	}
	if os.Getuid() != 0 {
		t.Skip("only root is refused")
	}
	if out, err := exec.Command(postgres("initdb"), "-D", t.TempDir()).CombinedOutput(); err == nil || !strings.Contains(string(out), "cannot be run as root") {
		t.Errorf("initdb as root: %v\n%s", err, out)
	}
}
