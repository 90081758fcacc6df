package saga_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
)

// A desk is one process that takes the commands of the step Charge. Several may
// share records.
type desk struct {
	*testing.T
	*saga.Participant

	// What becomes of a charge, of a refund, and of the sending of a reply. Nil:
	// it works.
	charge func(ctx context.Context) (chargeResult, error)
	refund func(ctx context.Context) error
	send   func() error

	mu      sync.Mutex
	runs    []string // of its handlers
	replies []answered
}

// answered is a reply as anybody reads it.
type answered struct {
	Waybill   int
	Reply     string
	Key       string
	Execution string
	Frame     string
	Step      string
	Visit     int
	Attempt   int
	Commit    string
	Outcome   string
	Result    json.RawMessage
	Error     string
	Cause     string
	Permanent bool
}

// String is what a reply says, in short.
func (r answered) String() string {
	s := fmt.Sprintf("%s %d: %s", r.Reply, r.Attempt, r.Outcome)
	if r.Permanent {
		s += " for good"
	}
	if r.Result != nil {
		s += " " + string(r.Result)
	}
	if r.Error != "" {
		s += " [" + r.Error + "]"
	}
	if r.Cause != "" {
		s += ": " + r.Cause
	}
	return s
}

func newDesk(t *testing.T, records store.Idempotency, change ...func(*saga.ParticipantConfig)) *desk {
	t.Helper()
	d := &desk{T: t}
	cfg := saga.ParticipantConfig{
		Records: records, Publisher: d,
		Steps:  []saga.Served{saga.Serve("Charge", d.doCharge).Undo(d.doRefund), saga.Serve("Look", d.doCharge)},
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if d.Participant, err = saga.NewParticipant(cfg); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *desk) ran(ctx context.Context, format string, args ...any) {
	info := saga.StepFrom(ctx)
	line := fmt.Sprintf(format, args...)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.runs = append(d.runs, fmt.Sprintf("%s %d", line, info.Attempt))
}

func (d *desk) doCharge(ctx context.Context, r chargeRequest) (chargeResult, error) {
	d.ran(ctx, "charge %d", r.Cents)
	if d.charge != nil {
		return d.charge(ctx)
	}
	return chargeResult{ID: "ch-1"}, nil
}

func (d *desk) doRefund(ctx context.Context, r chargeRequest, was saga.Outcome, result *chargeResult) error {
	id := "?"
	if result != nil {
		id = result.ID
	}
	d.ran(ctx, "refund %d, %s %s", r.Cents, was, id)
	if d.refund != nil {
		return d.refund(ctx)
	}
	return nil
}

// Publish takes a reply.
func (d *desk) Publish(topic string, messages ...*message.Message) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, msg := range messages {
		if d.send != nil {
			if err := d.send(); err != nil {
				return err
			}
		}
		var r answered
		if err := json.Unmarshal(msg.Payload, &r); err != nil {
			d.Error(err)
		}
		if topic != "replies" || r.Waybill != 1 || r.Execution != "ride-1" || r.Step != "Charge" || r.Visit != 2 || r.Frame != "Both:1" || r.Commit != "c-7" ||
			r.Key != "ride-1/1/Both:1/Charge/2/"+r.Reply || msg.UUID != fmt.Sprint(r.Key, "/", r.Attempt, "/", strings.ReplaceAll(r.Outcome, " ", "-")) {
			d.Errorf("to %s goes %+v, as %s", topic, r, msg.UUID)
		}
		if deadline, ok := msg.Context().Deadline(); !ok || msg.Context().Err() != nil || time.Until(deadline) > time.Minute {
			d.Errorf("a reply is sent with a context that ends at %v, %v", deadline, msg.Context().Err())
		}
		d.replies = append(d.replies, r)
	}
	return nil
}

func (d *desk) Close() error { return nil }

// told returns what was replied since the last call, and did what ran.
func (d *desk) told() (lines []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.replies {
		lines = append(lines, r.String())
	}
	d.replies = nil
	return lines
}

func (d *desk) did() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer func() { d.runs = nil }()
	return d.runs
}

// expect checks what ran and what was replied since it was last asked.
func (d *desk) expect(what string, runs, replies []string) {
	d.Helper()
	if got := d.did(); !slices.Equal(got, runs) {
		d.Errorf("%s: %q ran, want %q", what, got, runs)
	}
	if got := d.told(); !slices.Equal(got, replies) {
		d.Errorf("%s: replied\n%q, want\n%q", what, got, replies)
	}
}

// do and undo are the commands of the step Charge; the action of undo is
// unknown to the saga. They have a minute.
func do(attempt int, change ...func(map[string]any)) *message.Message {
	return commandMessage("do", attempt, change...)
}

func undo(attempt int, change ...func(map[string]any)) *message.Message {
	change = append([]func(map[string]any){func(c map[string]any) {
		c["undoes"], c["outcome"] = "ride-1/1/Both:1/Charge/2/do", "unknown"
	}}, change...)
	return commandMessage("undo", attempt, change...)
}

func commandMessage(kind string, attempt int, change ...func(map[string]any)) *message.Message {
	c := map[string]any{
		"waybill": 1, "command": kind, "key": "ride-1/1/Both:1/Charge/2/" + kind, "execution": "ride-1", "definition": "fare",
		"frame": "Both:1", "step": "Charge", "visit": 2, "attempt": attempt, "input": map[string]any{"Cents": 7},
		"notAfter": time.Now().Add(time.Minute).UnixMilli(), "replyTo": "replies", "commit": "c-7",
	}
	for _, f := range change {
		f(c)
	}
	body, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return message.NewMessage("m-1", body)
}

func (d *desk) handle(msg *message.Message) {
	d.Helper()
	if err := d.Handle(msg); err != nil {
		d.Error(err)
	}
}
