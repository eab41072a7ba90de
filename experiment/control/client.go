package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
)

// Client asks and changes the runs of another process. The error of its methods is
// an *event.Error if the process answers with one.
type Client struct{ http *http.Client }

func newClient(dial func(context.Context) (net.Conn, error)) *Client {
	return &Client{&http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
			DisableKeepAlives: true, DisableCompression: true, // requests are few, and descriptors of a long watch would add up
		},
	}}
}

// Process is what the process does.
func (c *Client) Process(ctx context.Context) (p Process, err error) {
	return p, c.do(ctx, "GET", "/v1/process", nil, &p)
}

// Stop stops the whole process, as Ctrl-C does, and does not wait for its end.
func (c *Client) Stop(ctx context.Context) error {
	return c.do(ctx, "DELETE", "/v1/process", nil, nil)
}

// Pause pauses all runs of the process.
func (c *Client) Pause(ctx context.Context) error {
	return c.do(ctx, "POST", "/v1/process/pause", nil, nil)
}

// Resume resumes all runs of the process.
func (c *Client) Resume(ctx context.Context) error {
	return c.do(ctx, "POST", "/v1/process/resume", nil, nil)
}

// Change changes a run. words are those of a run as data.
func (c *Client) Change(ctx context.Context, name string, words map[string]any) (x Experiment, err error) {
	return x, c.do(ctx, "PATCH", experimentPath(name), words, &x)
}

// StopRun, PauseRun and ResumeRun do with one run what the methods of the same
// name do with all.
func (c *Client) StopRun(ctx context.Context, name string) error {
	return c.do(ctx, "DELETE", experimentPath(name), nil, nil)
}

// PauseRun pauses a run.
func (c *Client) PauseRun(ctx context.Context, name string) error {
	return c.do(ctx, "POST", experimentPath(name)+"/pause", nil, nil)
}

// ResumeRun resumes a run.
func (c *Client) ResumeRun(ctx context.Context, name string) error {
	return c.do(ctx, "POST", experimentPath(name)+"/resume", nil, nil)
}

// Connections lists at most limit connections, those first to which something
// happened last.
func (c *Client) Connections(ctx context.Context, limit int) (all Connections, err error) {
	return all, c.do(ctx, "GET", "/v1/connections?limit="+strconv.Itoa(limit), nil, &all)
}

// largestAnswer bounds what a process may say: as root it is another user's.
const largestAnswer = 32 << 20

func experimentPath(name string) string { return "/v1/experiments/" + url.PathEscape(name) }

func (c *Client) do(ctx context.Context, method, path string, body, answer any) error {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://faultctl"+path, sent)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // its URL says nothing
	}
	if err != nil {
		return fmt.Errorf("ask the process: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		var p Problem
		if err := json.NewDecoder(io.LimitReader(resp.Body, largestBody)).Decode(&p); err != nil {
			return fmt.Errorf("the process answers %s", resp.Status)
		}
		e := event.Errorf(event.Code(p.Code), "", "%s", p.Detail)
		return e.WithAdvice(p.Advice)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(io.LimitReader(resp.Body, largestAnswer)).Decode(answer)
}
