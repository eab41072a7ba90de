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
	"strings"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
)

// Client asks and changes the runs of another process. The error of its methods is
// an *event.Error or event.Problems if the process answers with one. Any goroutine may
// call its methods.
type Client struct {
	http  *http.Client
	base  string // of its URLs
	token string // may be empty
}

// NewClient returns a client of a faultctl serve, and does not connect yet. The address
// is the path of its unix socket, or its http URL, for which it needs the token.
func NewClient(address, token string) (*Client, error) {
	if !strings.Contains(address, "://") {
		return newClient(func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "unix", address) }), nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return nil, event.Usagef("", "%s is neither a path nor a URL such as http://127.0.0.1:8675", address)
	}
	c := newClient(func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", u.Host) })
	c.base, c.token = "http://"+u.Host, token
	return c, nil
}

// NewClientOver returns a client whose requests all go over conn, in HTTP/2 without TLS:
// it is for a process that is reached by a single stream of bytes, as faultctl connect
// makes one. When conn has ended the methods return errors. Each request lasts as long
// as its context.
func NewClientOver(conn net.Conn) (*Client, error) {
	only := new(http.Protocols)
	only.SetUnencryptedHTTP2(true)
	t := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }, Protocols: only, DisableCompression: true}
	c, err := t.NewClientConn(context.Background(), "http", "faultctl:80")
	if err != nil {
		return nil, err
	}
	return &Client{base: "http://faultctl", http: &http.Client{Transport: c}}, nil
}

func newClient(dial func(context.Context) (net.Conn, error)) *Client {
	return &Client{base: "http://faultctl", http: &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
			DisableKeepAlives: true, DisableCompression: true, // requests are few, and descriptors of a long watch would add up
		},
	}}
}

// Put has a run of that name do what words say: those of a run as data. When it returns,
// the next matching packet is judged. The run is stopped when nobody has renewed it for
// the lease; zero is no lease.
func (c *Client) Put(ctx context.Context, name string, words map[string]any, lease time.Duration) (x Experiment, err error) {
	path := experimentPath(name)
	if lease > 0 {
		path += "?lease=" + lease.String()
	}
	return x, c.do(ctx, "PUT", path, words, &x)
}

// Renew begins the lease of a run anew. The error is ErrNoRun if the run is over.
func (c *Client) Renew(ctx context.Context, name string) error {
	return c.do(ctx, "POST", experimentPath(name)+"/renew", nil, nil)
}

// Finish stops a run and returns when everything is as it was before, with what is said
// of its faults. Of a run that is over already it can be asked once.
func (c *Client) Finish(ctx context.Context, name string) (x Experiment, err error) {
	return x, c.do(ctx, "DELETE", experimentPath(name)+"?wait=true", nil, &x)
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

// Experiment is a run as it is now.
func (c *Client) Experiment(ctx context.Context, name string) (x Experiment, err error) {
	return x, c.do(ctx, "GET", experimentPath(name), nil, &x)
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

// Strike has the faults of its run strike the connection with that ID, and says when
// they do.
func (c *Client) Strike(ctx context.Context, id string) (s Struck, err error) {
	return s, c.do(ctx, "POST", "/v1/connections/"+url.PathEscape(id)+"/strike", nil, &s)
}

// Spare has the faults of its run leave the connection with that ID alone.
func (c *Client) Spare(ctx context.Context, id string) error {
	return c.do(ctx, "POST", "/v1/connections/"+url.PathEscape(id)+"/spare", nil, nil)
}

// Connections lists at most limit connections, those first to which something
// happened last; unchosen says whether those are behind them that were not chosen.
func (c *Client) Connections(ctx context.Context, limit int, unchosen bool) (all Connections, err error) {
	return all, c.do(ctx, "GET", fmt.Sprintf("/v1/connections?limit=%d&all=%t", limit, unchosen), nil, &all)
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
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, sent)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
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
	if err := refusal(resp); err != nil {
		return err
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(io.LimitReader(resp.Body, largestAnswer)).Decode(answer)
}

// error is the error that the process answered with.
func (p *Problem) error() error {
	one := func(f FieldError) *event.Error {
		if f.Field == "" {
			return event.Errorf(event.Code(p.Code), "", "%s", f.Detail).WithAdvice(f.Advice)
		}
		// The detail says the field.
		return event.Errorf(event.Code(p.Code), event.Field(f.Field), "%.0s%s", event.Field(f.Field), f.Detail).WithAdvice(f.Advice)
	}
	if len(p.Errors) < 2 {
		return one(FieldError{p.Detail, p.Field, p.Advice})
	}
	var all event.Problems
	for _, f := range p.Errors {
		all = append(all, one(f))
	}
	return all
}

// refusal is the error that a process answers with, or nil.
func refusal(resp *http.Response) error {
	if resp.StatusCode < 300 {
		return nil
	}
	var p Problem
	if err := json.NewDecoder(io.LimitReader(resp.Body, largestBody)).Decode(&p); err != nil {
		return fmt.Errorf("the process answers %s", resp.Status)
	}
	if resp.StatusCode == http.StatusNotFound {
		return noRun{p.error()}
	}
	return p.error()
}

// noRun is an error that is ErrNoRun too.
type noRun struct{ error }

func (e noRun) Unwrap() error        { return e.error }
func (e noRun) Is(target error) bool { return target == ErrNoRun }
