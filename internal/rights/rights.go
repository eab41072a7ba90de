// Package rights says what this process may do, and what a person can do about the
// rest, which differs between an ordinary user, root, and root of a container.
package rights

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Rights are those of a process.
type Rights struct {
	Root                       bool // its user is number 0
	NetAdmin, NetRaw, SysAdmin bool // its effective capabilities
	Container                  bool // it runs in a container of Docker, Podman or Kubernetes
	FromFile                   bool // an ordinary user has capabilities from the program's file (setcap)
	ForAll                     bool // everybody may execute the program
}

// Own returns the rights of this process.
func Own() Rights {
	r := Rights{Root: os.Geteuid() == 0, Container: inContainer()}
	r.NetAdmin, r.NetRaw, r.SysAdmin = Has(unix.CAP_NET_ADMIN), Has(unix.CAP_NET_RAW), Has(unix.CAP_SYS_ADMIN)
	if !r.Root && (r.NetAdmin || r.NetRaw) {
		n, err := unix.Getxattr("/proc/self/exe", "security.capability", nil)
		r.FromFile = err == nil && n > 0
	}
	if info, err := os.Stat("/proc/self/exe"); err == nil {
		r.ForAll = info.Mode()&0o001 != 0
	}
	return r
}

// Has reports whether the calling thread has a capability in effect, such as
// unix.CAP_NET_ADMIN.
func Has(capability uint) bool {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	return unix.Capget(&h, &sets[0]) == nil && sets[capability/32].Effective&(1<<(capability%32)) != 0
}

// inContainer looks for what engines leave in each container.
func inContainer() bool {
	for _, file := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(file); err == nil {
			return true
		}
	}
	return os.Getenv("KUBERNETES_SERVICE_HOST") != "" || os.Getenv("container") != ""
}

// Enough reports whether rules and forged segments are possible in the process's own
// network namespace.
func (r Rights) Enough() bool { return r.NetAdmin && r.NetRaw }

// missing names the capabilities that Enough misses.
func (r Rights) missing() string {
	var all []string
	if !r.NetAdmin {
		all = append(all, "CAP_NET_ADMIN")
	}
	if !r.NetRaw {
		all = append(all, "CAP_NET_RAW")
	}
	return strings.Join(all, " and ")
}

// Advice says in whole sentences what to do where the kernel denied a right.
func (r Rights) Advice() string {
	const options = "--cap-add NET_ADMIN --cap-add NET_RAW"
	switch {
	case !r.Root && r.Container:
		return "It takes CAP_NET_ADMIN (rules) and CAP_NET_RAW (forged segments): run it as root of this container, started with --user 0 " + options + ", or with sudo where there is sudo."
	case !r.Root:
		return "It takes CAP_NET_ADMIN (rules) and CAP_NET_RAW (forged segments): run it with sudo. " +
			"Without root, faultctl run, verify and demo work in namespaces of their own, and everything does inside unshare -Urn bash."
	case !r.Enough() && r.Container:
		return "This container's root lacks " + r.missing() + ": start the container with " + options +
			" (Docker, Podman, compose: cap_add), or in Kubernetes with these in securityContext.capabilities.add."
	case !r.Enough():
		return "This root lacks " + r.missing() + ", which whatever started it took away (a unit's CapabilityBoundingSet, a sandbox, capsh): start it without that limit."
	case !r.SysAdmin && r.Container:
		return "Rules and forged segments are permitted here. Other network namespaces (--netns, --pid, --container, --isolate) take CAP_SYS_ADMIN: " +
			"run faultctl in that container's network instead, docker run --network container:NAME, or on the host."
	case !r.SysAdmin:
		return "Rules and forged segments are permitted here. Other network namespaces (--netns, --pid, --container, --isolate) take CAP_SYS_ADMIN, which this root lacks."
	}
	return "It takes CAP_NET_ADMIN and CAP_NET_RAW, which this root has: a security module (SELinux, AppArmor, seccomp) or the owner of that namespace denies it. The kernel's log may say which."
}

// NamespaceAdvice says what to do where namespaces of one's own are not permitted.
func (r Rights) NamespaceAdvice() string {
	switch {
	case r.Container && r.Root && r.Enough():
		return "Leave out --isolate: with the capabilities of this container, faultctl run and verify strike the connections of its network namespace."
	case r.Container:
		return r.Advice()
	case r.Root:
		return "Namespaces take CAP_SYS_ADMIN, which this root lacks, or user namespaces: user.max_user_namespaces and user.max_net_namespaces above 0."
	}
	return "Run it with sudo, or allow user namespaces: user.max_user_namespaces and user.max_net_namespaces above 0, and on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0."
}

// Danger says why a program with capabilities in its file is not used; empty: it is
// no danger. Whoever may execute such a program has its rights: to read and to break
// the connections of everybody on the machine.
func (r Rights) Danger() string {
	if !r.FromFile || !r.ForAll {
		return ""
	}
	return "this program's file has capabilities (setcap), and everybody may execute it: each local user could read everybody's packets with --pcap, and break everybody's connections"
}

// DangerAdvice says what to do about Danger.
const DangerAdvice = "Take them away (sudo setcap -r FILE) and use sudo, or let only a group that you trust execute it (chgrp GROUP FILE, chmod 0750 FILE, then setcap again)."
