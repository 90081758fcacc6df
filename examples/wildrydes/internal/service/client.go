package service

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A Client calls a service. Its calls take as long as their contexts allow,
// and are not tried again: that is the business of who calls.
type Client struct {
	name string // of the service, in errors
	base string
	http *http.Client
}

// NewClient returns a client of the service at a base URL.
func NewClient(name, base string) *Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	return &Client{name: name, base: strings.TrimSuffix(base, "/"), http: &http.Client{Transport: transport}}
}

// Close closes the connections that nobody uses.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Do has something done under an idempotency key. What the service refuses is
// an [*Error]; after any other error it is not known whether it was done.
func (c *Client) Do(ctx context.Context, kind, id, key string, r Request) (Answer, error) {
	var answer Answer
	body, err := json.Marshal(r)
	if err != nil {
		return answer, c.wrap(kind, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, c.base+"/"+kind+"/"+url.PathEscape(id), bytes.NewReader(body))
	if err != nil {
		return answer, c.wrap(kind, err)
	}
	req.Header.Set(KeyHeader, key)
	return answer, c.call(req, kind, &answer)
}

// Ledger returns what the service has done, once it has nothing under way.
func (c *Client) Ledger(ctx context.Context) (Ledger, error) {
	for {
		var l Ledger
		if err := c.Get(ctx, "ledger", &l); err != nil || l.Stats.Pending == 0 {
			return l, err
		}
		select {
		case <-ctx.Done():
			return l, c.wrap("ledger", fmt.Errorf("%d requests are under way: %w", l.Stats.Pending, context.Cause(ctx)))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Mend ends the faults of customers with that suffix.
func (c *Client) Mend(ctx context.Context, customer string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, c.base+"/faults/"+url.PathEscape(customer), nil)
	if err != nil {
		return c.wrap("mend", err)
	}
	return c.call(req, "mend", nil)
}

// Get reads what is at a path.
func (c *Client) Get(ctx context.Context, path string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/"+path, nil)
	if err != nil {
		return c.wrap(path, err)
	}
	return c.call(req, path, answer)
}

// Post sends a body to a path.
func (c *Client) Post(ctx context.Context, path string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return c.wrap(path, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/"+path, bytes.NewReader(data))
	if err != nil {
		return c.wrap(path, err)
	}
	return c.call(req, path, answer)
}

// maxAnswer bounds what is read of an answer; a ledger is the longest.
const maxAnswer = 256 << 20

func (c *Client) call(req *http.Request, what string, answer any) error {
	resp, err := c.http.Do(req)
	if err != nil {
		return c.wrap(what, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return c.wrap(what, err)
	}
	if resp.StatusCode >= 300 {
		e := &Error{Service: c.name, Operation: what, Status: resp.StatusCode}
		if json.Unmarshal(body, e) != nil || e.Code == "" {
			e.Code, e.Message = "http", resp.Status
		}
		return e
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return c.wrap(what, err)
	}
	return nil
}

func (c *Client) wrap(what string, err error) error {
	return fmt.Errorf("%s: %s: %w", c.name, what, err)
}
