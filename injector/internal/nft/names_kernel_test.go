package nft

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"github.com/faultctl/faultctl/internal/procid"
	"github.com/google/nftables"
)

// firstPID is set in a process that makes its table and waits for the end of its
// standard input. It is process 1 of a PID namespace, as in a container.
const firstPID = "FAULTCTL_TEST_FIRST_PID"

// TestTwoFirstProcesses checks that processes with the same number, as those of two
// containers in one network namespace, have tables of their own, that one does not
// take the other's for that of a dead process, and that the host knows which lives.
func TestTwoFirstProcesses(t *testing.T) {
	if os.Getenv(firstPID) != "" {
		beFirst(t)
		return
	}
	ns := kerneltest.NetNS(t)
	type container struct {
		cmd *exec.Cmd
		end io.Closer
	}
	var all []container
	for range 2 {
		cmd := exec.Command("/proc/self/exe", "-test.run", "^TestTwoFirstProcesses$")
		cmd.Env = append(os.Environ(), firstPID+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
		cmd.ExtraFiles = []*os.File{ns}
		in, err1 := cmd.StdinPipe()
		out, err2 := cmd.StdoutPipe()
		cmd.Stderr = os.Stderr
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, container{cmd, in})
		var said bytes.Buffer
		for b := make([]byte, 1); !bytes.HasSuffix(said.Bytes(), []byte("\n")); {
			if _, err := out.Read(b); err != nil {
				t.Fatalf("no table: %q", &said)
			}
			said.Write(b)
		}
		go io.Copy(io.Discard, out)
		if line := said.String(); !strings.HasPrefix(line, "faultctl_1_ns") {
			t.Fatalf("the table of process 1: %q", line)
		}
	}
	left := kerneltest.Tables(t, ns)
	if len(left) != 2 {
		t.Fatalf("two processes made the tables %q", left)
	}
	if removed, err := Cleanup(); err != nil || len(removed) > 0 {
		t.Errorf("removed those of the living: %q, %v", removed, err)
	}
	all[0].end.Close()
	all[0].cmd.Wait()
	removed, err := Cleanup()
	// In a PID namespace of its own this test knows nothing of the dead.
	if !strings.Contains(procid.Self(), "_ns") && (err != nil || len(removed) != 1) {
		t.Errorf("one has ended: removed %q, %v", removed, err)
	}
	all[1].end.Close()
	all[1].cmd.Wait()
	Cleanup()
	for _, name := range kerneltest.Tables(t, ns) {
		c, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
		if err != nil {
			t.Fatal(err)
		}
		c.DelTable(&nftables.Table{Name: name, Family: nftables.TableFamilyINet})
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
	}
}

func beFirst(t *testing.T) {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		t.Fatal(err)
	}
	c, err := nftables.New(nftables.WithNetNSFd(3))
	if err != nil {
		t.Fatal(err)
	}
	name := NextName()
	c.CreateTable(&nftables.Table{Name: name, Family: nftables.TableFamilyINet})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	if removed, err := Cleanup(); err != nil || slices.Contains(removed, name) {
		t.Errorf("its own is removed: %q, %v", removed, err)
	}
	os.Stdout.WriteString(name + "\n")
	io.Copy(io.Discard, os.Stdin)
}
