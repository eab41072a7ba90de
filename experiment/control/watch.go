package control

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"

	"github.com/faultctl/faultctl/experiment/event"
)

// A Line is an event of a run of another process, as it came.
type Line struct {
	ID   string // of the event; what Events goes on behind
	Text []byte // the JSON object, with the name of the run as its experiment
}

// Events calls each with the events of all runs of the process behind the one with that
// ID, in order; with none, or with the ID of another process, with all that it keeps.
// It returns when ctx is done or the stream ends,
// which is an error always.
func (c *Client) Events(ctx context.Context, after string, each func(Line)) error {
	req, err := http.NewRequestWithContext(ctx, "GET", c.base+"/v1/events", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if after != "" {
		req.Header.Set("Last-Event-ID", after)
	}
	stream := *c.http
	stream.Timeout = 0 // it has no end
	resp, err := stream.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := refusal(resp); err != nil {
		return err
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, event.LongestLine+64)
	var l Line
	for lines.Scan() {
		field, value, _ := bytes.Cut(lines.Bytes(), []byte(": "))
		switch string(field) {
		case "id":
			l.ID = string(value)
		case "data":
			l.Text = bytes.Clone(value)
			each(l)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}
