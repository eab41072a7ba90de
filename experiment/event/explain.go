package event

// Explained is what explain found of one connection.
type Explained struct {
	Head
	Client        string       `json:"client" doc:"the end that opened the connection, as far as the capture tells"`
	Server        string       `json:"server" doc:"the other end"`
	At            string       `json:"at" doc:"when it happened, by the capture's clock, as RFC 3339 has it"`
	Cause         string       `json:"cause,omitempty" doc:"the name of the fault that it looks like"`
	Certainty     string       `json:"certainty" doc:"sure, likely, cannot tell (others look the same from where the capture was made) or unknown"`
	Twins         List[string] `json:"twins,omitempty" doc:"the others that look the same"`
	RunnerUp      string       `json:"runner_up,omitempty" doc:"what fits next best"`
	By            string       `json:"by" doc:"in whose name it happened: client or server"`
	Frame         int          `json:"frame,omitempty" doc:"the frame that shows it, from 1"`
	Answers       int          `json:"answers,omitempty" doc:"the frame that the RST answers"`
	Idle          float64      `json:"idle_seconds,omitempty" doc:"the silence before"`
	Reason        string       `json:"reason,omitempty" doc:"live: the kernel's word for why this host sent the RST (enum sk_rst_reason)"`
	ClientProcess string       `json:"client_process,omitempty" doc:"live: the process of this host that held the client's socket"`
	ServerProcess string       `json:"server_process,omitempty" doc:"live: the process of this host that held the server's socket, or closed it"`
	Evidence      List[string] `json:"evidence" doc:"what was seen, in words"`
	Settles       string       `json:"settles,omitempty" doc:"what would settle a doubt"`
	Remedy        string       `json:"remedy,omitempty" doc:"what helps"`
	Repeat        string       `json:"repeat,omitempty" doc:"the command line that brings the same about"`
}

// ExplainedAll is the last event of explain.
type ExplainedAll struct {
	Head
	File        string       `json:"file,omitempty" doc:"the capture; - is standard input; empty: live"`
	Frames      int          `json:"frames" doc:"frames that were read"`
	Packets     int          `json:"packets" doc:"TCP segments, and ICMP errors about them"`
	Connections int          `json:"connections" doc:"connections that the capture shows something of"`
	InOrder     int          `json:"in_order" doc:"those that were closed in order, or are open and in use"`
	Early       int          `json:"judged_early,omitempty" doc:"connections that were judged before their end, because there were too many at once"`
	Skipped     int          `json:"skipped,omitempty" doc:"frames with fragments, an unknown link type, or too little of the TCP header"`
	Lost        uint64       `json:"lost,omitempty" doc:"live: packets that came too fast to be read, so that connections may be misjudged"`
	Unseen      List[string] `json:"unseen,omitempty" doc:"live: what could not be seen, and what it takes"`
	Kernel      List[string] `json:"kernel,omitempty" doc:"live: what the kernel counted meanwhile"`
	Broken      string       `json:"broken,omitempty" doc:"why the capture could not be read to its end"`
}

func (Explained) Name() string    { return "explained" }
func (ExplainedAll) Name() string { return "explained-all" }

func (e Explained) with(h Head) Event    { e.Head = h; return e }
func (e ExplainedAll) with(h Head) Event { e.Head = h; return e }
