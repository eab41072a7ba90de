package ruleset

// Signal is what a verdict tells the rules, as bits of the packet's priority. The rules
// then restore the priority. SO_PRIORITY and tc class handles do not use these bits in
// practice: major numbers start at 0x0100, and classids at 1.
type Signal uint32

// The signals.
const (
	Forget  Signal = 1 << 30 // a new connection on these addresses and ports: clear the sets
	Admit   Signal = 1 << 29 // let the flow pass until it has been idle
	Release Signal = 1 << 28 // never divert the flow again
	Capture Signal = 1 << 27 // divert the whole flow
	Drop    Signal = 1 << 26 // drop this packet after the sets are changed; its TCP has sent it, so for TCP it is lost
	Reply   Signal = 1 << 25 // the packet travels from server to client

	allSignals = Forget | Admit | Release | Capture | Drop | Reply
)

// And returns what s and a later signal say together. If they contradict each other,
// the later one counts.
func (s Signal) And(later Signal) Signal {
	if later&Release != 0 {
		s &^= Capture
	}
	if later&Capture != 0 {
		s &^= Release
	}
	return s | later
}
