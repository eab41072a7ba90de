package control

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/faultctl/faultctl/experiment/event"
)

type eventsInput struct {
	After       uint64 `query:"after" doc:"Only events behind this ordinal, which counts from 1; behind one that has not come yet, all that come from now on."`
	LastEventID string `header:"Last-Event-ID" doc:"Only events behind the one with this id, as an EventSource asks. With the id of another process, such as one that has ended, all events that are kept are sent."`
	Accept      string `header:"Accept" doc:"text/event-stream for SSE; otherwise one JSON object a line."`
	Follow      bool   `query:"follow" default:"true" doc:"Wait for further events."`
}

// batchOfEvents is how long a reader is let wait for events that follow one that it
// was sent: many readers of many events would take much time of a processor otherwise.
const batchOfEvents = 20 * time.Millisecond

// events streams the events of all runs.
func (g *Registry) events(_ context.Context, in *eventsInput) (*huma.StreamResponse, error) {
	sse := strings.Contains(in.Accept, "text/event-stream")
	after := in.After
	if process, n, _ := strings.Cut(in.LastEventID, "-"); process == g.id {
		after, _ = strconv.ParseUint(n, 10, 64)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		kind := "application/x-ndjson"
		if sse {
			kind = "text/event-stream"
		}
		hc.SetHeader("Content-Type", kind)
		hc.SetHeader("Cache-Control", "no-store")
		w := hc.BodyWriter()
		flush := func() {
			if rw, is := w.(http.ResponseWriter); is {
				http.NewResponseController(rw).Flush()
			}
		}
		hc.SetStatus(http.StatusOK)
		flush()
		ctx := hc.Context()
		if !in.Follow {
			var cancel context.CancelFunc
			ctx, cancel = context.WithCancel(ctx)
			cancel()
		}
		for {
			lines, lost := g.ring.after(ctx, after)
			if lost > 0 {
				lines = append([]*line{{ordinal: after + lost, event: event.Stamp(time.Now(), event.Lost{Events: lost})}}, lines...)
			}
			for _, l := range lines {
				var err error
				if sse {
					_, err = fmt.Fprintf(w, "id: %s-%d\nevent: %s\ndata: %s\n\n", g.id, l.ordinal, l.event.Name(), l.text())
				} else {
					_, err = fmt.Fprintf(w, "%s\n", l.text())
				}
				if err != nil {
					return
				}
				after = l.ordinal
			}
			if flush(); ctx.Err() != nil || len(lines) == 0 {
				return
			}
			select {
			case <-time.After(batchOfEvents):
			case <-ctx.Done():
			}
		}
	}}, nil
}
