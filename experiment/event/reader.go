package event

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// LongestLine is how many bytes a line of events may have, without its newline.
const LongestLine = 1 << 20

// What may be wrong with a line, beside a field of the wrong type.
var (
	ErrTooLong = errors.New("longer than 1 MiB")
	ErrNotJSON = errors.New("no JSON object")
)

// LineError is what is wrong with a line of events: Err is or wraps ErrTooLong,
// ErrNotJSON or what encoding/json says of a field.
type LineError struct {
	Line int // counted from 1
	Err  error
}

func (e *LineError) Error() string {
	if errors.Is(e.Err, ErrTooLong) {
		return fmt.Sprintf("line %d is %v", e.Line, e.Err)
	}
	return fmt.Sprintf("line %d: %v", e.Line, e.Err)
}

func (e *LineError) Unwrap() error { return e.Err }

// Reader reads the lines that a Writer wrote.
type Reader struct {
	lines *bufio.Scanner
	line  int
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, LongestLine+1)
	lines.Split(wholeLines)
	return &Reader{lines: lines}
}

// Next returns the next event, and io.EOF after the last one. A last line
// without its newline, which the end of its process cut short, is left out. An
// event that this version does not know, or a line without an event, is an
// Unknown; fields that it does not know are passed over. A fault of a line is a
// *LineError, after which Next goes on with the next line, except that nothing
// follows ErrTooLong. Other errors are those of the io.Reader.
func (r *Reader) Next() (Event, error) {
	if r.lines.Scan() {
		r.line++
		e, err := Decode(r.lines.Bytes())
		if err != nil {
			return nil, &LineError{r.line, err}
		}
		return e, nil
	}
	switch err := r.lines.Err(); {
	case err == nil:
		return nil, io.EOF
	case errors.Is(err, bufio.ErrTooLong):
		return nil, &LineError{r.line + 1, ErrTooLong}
	default:
		return nil, err
	}
}

// Line is the number of the last line that Next has read, counted from 1, for
// what is wrong with an event that only its reader can know.
func (r *Reader) Line() int { return r.line }

// wholeLines is a bufio.SplitFunc of lines, without a last one that has no end.
func wholeLines(data []byte, atEOF bool) (advance int, line []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF {
		return len(data), nil, nil
	}
	return 0, nil, nil
}

// kind is a type of event: a name, and the field by which its shape is known
// among those of the name. No field: it is the shape where none is there.
type kind struct {
	name, by string
	decode   func(line []byte) (Event, error)
	zero     Event
}

func of[E Event](by string) kind {
	var zero E
	return kind{zero.Name(), by, func(line []byte) (Event, error) {
		var e E
		err := json.Unmarshal(line, &e)
		return e, err
	}, zero}
}

// kinds are all events but Unknown; of one name, the shapes with a field go first.
var kinds = []kind{
	of[ScenarioStarted]("scenario"), of[VerifyStarted]("command"), of[Started](""),
	of[Ready](""), of[Flow](""), of[Fired](""), of[Outcome](""), of[Target](""),
	of[ScenarioEnded]("name"), of[Ended](""),
	of[Command](""), of[Exited](""),
	of[Case](""), of[ScenarioResult]("scenario"), of[VerifyResult](""), of[Verified](""),
	of[Phase](""), of[Step](""), of[Probe](""), of[ProbeEnded](""),
	of[Changed](""), of[Paused](""), of[Resumed](""), of[Picked](""), of[Spared](""), of[Stopped](""), of[Unsteady](""), of[Lost](""),
	of[Explained](""), of[ExplainedAll](""),
	of[Replayed](""), of[VerifyDryRun]("case"), of[DryRun](""), of[ErrorEvent](""),
}

// Decode reads the event of one line, with or without its newline. It keeps
// nothing of the line's memory.
func Decode(line []byte) (Event, error) {
	line = bytes.TrimSpace(line)
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil || fields == nil {
		return nil, ErrNotJSON
	}
	var head Head
	if name, has := fields["event"]; has {
		if err := json.Unmarshal(name, &head.Event); err != nil {
			return nil, fmt.Errorf("%w with an event: its name is not a string", ErrNotJSON)
		}
	}
	for _, k := range kinds {
		if _, is := fields[k.by]; k.name != head.Event || k.by != "" && !is {
			continue
		}
		e, err := k.decode(line)
		if err != nil {
			return nil, fmt.Errorf("event %s: %w", k.name, err)
		}
		return e, nil
	}
	// The time of an event that nobody knows may be something else.
	if json.Unmarshal(fields["time"], &head.Time) != nil {
		head.Time = Time{}
	}
	return Unknown{head, bytes.Clone(line)}, nil
}
