package ruleset

// Signal is what a verdict tells the rules, as bits of the packet's priority, which
// gets its own value back there. SO_PRIORITY and tc class handles leave these bits
// alone in practice: they make major numbers from 0x0100 on, and classids count from
// 1.
type Signal uint32

// The signals.
const (
	Forget  Signal = 1 << 30 // a new connection on these addresses and ports: clear the sets
	Admit   Signal = 1 << 29 // let the flow pass until it has been idle
	Release Signal = 1 << 28 // never divert the flow again
	Capture Signal = 1 << 27 // divert the whole flow
	Drop    Signal = 1 << 26 // drop this packet once the sets know: loss, since it had left TCP
	Reply   Signal = 1 << 25 // the packet travels from server to client

	allSignals = Forget | Admit | Release | Capture | Drop | Reply
)

// And is what s and what comes later have to say together. Of two signals that
// contradict each other the later one stands.
func (s Signal) And(later Signal) Signal {
	if later&Release != 0 {
		s &^= Capture
	}
	if later&Capture != 0 {
		s &^= Release
	}
	return s | later
}
