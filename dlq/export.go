package dlq

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// ExportOptions say what [Client.Export] is to write. The zero value writes the
// first [DefaultLook] messages.
type ExportOptions struct {
	// Filter chooses the messages. Defaults to all.
	Filter *Filter

	// Since and Until choose the messages whose [Letter.FailedAt] is not before
	// Since, and is before Until. Default to no bound.
	Since, Until time.Time

	// Limit is how many messages are looked at, at most [MaxLook]. Defaults to
	// [DefaultLook].
	Limit int
}

// An ExportReport is what became of an export.
type ExportReport struct {
	// Queue is the name of the queue.
	Queue string `json:"queue"`

	// Total is how many messages the queue said it held, and Seen how many of
	// them were looked at. The rest is beyond the limit, with other receivers,
	// or, in a FIFO queue, behind messages of its group.
	Total int `json:"total"`
	Seen  int `json:"seen"`

	// Written counts the messages that were written, and Bytes what they take.
	Written int   `json:"written"`
	Bytes   int64 `json:"bytes"`

	Choice
}

// A Choice counts the messages that were not chosen.
type Choice struct {
	// Outside counts the messages that Since and Until leave out, Filtered
	// those that the filter did not choose, and FilterErrors those among them
	// that it did not fit, or whose payload it could not have; FilterError is
	// the first such error.
	Outside      int    `json:"outside"`
	Filtered     int    `json:"filtered"`
	FilterErrors int    `json:"filter_errors"`
	FilterError  string `json:"filter_error,omitempty"`
}

// add counts a verdict, and reports whether the letter is chosen.
func (c *Choice) add(v verdict, err error) bool {
	switch {
	case v == outside:
		c.Outside++
	case v == filtered:
		c.Filtered++
		if err != nil {
			if c.FilterErrors++; c.FilterErrors == 1 {
				c.FilterError = err.Error()
			}
		}
	}
	return v == chosen
}

// Export writes messages of a dead-letter queue to w, one on each line, with
// everything that it takes to restore them, and returns them to the queue. The
// queue is named as for queue.Admin; what a line has tells the documentation of
// the package.
//
// It costs what [Client.Groups] does for as many messages, and writes each as soon
// as it is seen, in no particular order. A payload that is in a store is not
// fetched: its message is written with the reference. Nothing is written twice,
// unless an export is run twice: the messages stay in the queue.
//
// When ctx ends, or the queue or w fails, the error comes with the report so
// far. What was written by then are whole lines, but for the last one where w
// itself took a part of it.
func (c *Client) Export(ctx context.Context, name string, w io.Writer, opts ExportOptions) (ExportReport, error) {
	const action = "export"
	if err := checkWindow(opts.Since, opts.Until); err != nil {
		return ExportReport{}, fmt.Errorf("dlq: ExportOptions: %w", err)
	}
	s, err := c.newScan(ctx, name, action, opts.Limit)
	if err != nil {
		return ExportReport{}, err
	}
	r := ExportReport{Queue: s.queue.Name, Total: s.total}
	var mu sync.Mutex
	var failed error
	err = s.run(ctx, action, func(l *Letter) bool {
		v, filterErr := choice(ctx, l, opts.Since, opts.Until, opts.Filter, c.payloads, c.maxPayload)
		if ctx.Err() != nil {
			return false // the filter was not asked
		}
		var line []byte
		var err error
		if v == chosen {
			line, err = encodeLine(r.Queue, l)
		}
		mu.Lock()
		defer mu.Unlock()
		if failed == nil {
			failed = err
		}
		if failed != nil {
			return false
		}
		r.Seen++
		if !r.add(v, filterErr) {
			return true
		}
		var n int
		n, failed = w.Write(line)
		r.Bytes += int64(n)
		if failed != nil {
			return false
		}
		r.Written++
		return true
	})
	if failed != nil {
		return r, fmt.Errorf("dlq: export %q: after %d messages: %w", r.Queue, r.Written, failed)
	}
	return r, err
}
