package experiment

// noteNAT says before the run what does not arrive where the network namespace translates
// addresses and the kernel cannot be asked for the names that clients know. Whether it
// translates at all may be no business of this user: what a run needs is checked when it
// begins.
func (p *Plan) noteNAT() {
	nat, err := p.sys.FindNAT(p.cfg.NetNS)
	if err != nil || nat.Unnamed == nil {
		return
	}
	family := "IPv4 and IPv6"
	switch {
	case !nat.IPv6:
		family = "IPv4"
	case !nat.IPv4:
		family = "IPv6"
	}
	p.note("%s is translated here (NAT), and the kernel does not say what clients call their server (%v): on translated connections, "+
		"no answer of a fault to a SYN arrives, nor does anything that a fault sends where the client's address is translated as well; "+
		"strike where the service runs (--container, --pid)", family, nat.Unnamed)
}
