package faults

import "fmt"

// Direction is the way a segment travels, in conntrack's words.
type Direction uint8

// The directions.
const (
	Original Direction = iota // client to server
	Reply                     // server to client
)

// Flip returns the opposite direction.
func (d Direction) Flip() Direction { return d ^ 1 }

// From returns the side that sends in direction d.
func (d Direction) From() Side { return Client + Side(d) }

// To returns the side that receives in direction d.
func (d Direction) To() Side { return d.Flip().From() }

func (d Direction) String() string {
	return [...]string{"original", "reply"}[d&1]
}

// Side is one end of a connection, or both of them.
type Side uint8

// The sides.
const (
	AnySide Side = iota // nothing is said: the default of a knob that has one, else both ends
	Client              // the end that sent the first SYN
	Server              // the end that listens
	Both
)

// Includes reports whether s is o, or both ends.
func (s Side) Includes(o Side) bool { return s == o || !s.one() }

// one reports whether s is a single end.
func (s Side) one() bool { return s == Client || s == Server }

// Sends returns the direction in which s sends. It is Original for both ends.
func (s Side) Sends() Direction {
	if s == Server {
		return Reply
	}
	return Original
}

// Other returns the opposite end. It is Both for both ends.
func (s Side) Other() Side {
	switch s {
	case Client:
		return Server
	case Server:
		return Client
	}
	return Both
}

func (s Side) String() string {
	return [...]string{"both", "client", "server", "both"}[min(s, Both)]
}

// MarshalText writes "client", "server" or "both".
func (s Side) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (s *Side) UnmarshalText(text []byte) error {
	for _, v := range [...]Side{Client, Server, Both} {
		if v.String() == string(text) {
			*s = v
			return nil
		}
	}
	return fmt.Errorf("%q is neither client, server nor both", text)
}

// TypeName implements Typed.
func (Side) TypeName() string { return "client|server|both" }
