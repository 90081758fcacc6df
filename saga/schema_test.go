package saga_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// schemas are the files of saga/schema, by name.
var schemas = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	files, err := fs.Glob(saga.Schemas(), "*.json")
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("there are no schemas: %w", err)
	}
	all := make(map[string]*jsonschema.Schema)
	for _, file := range files {
		text, err := fs.ReadFile(saga.Schemas(), file)
		if err != nil {
			return nil, err
		}
		schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return nil, err
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource(file, schema); err != nil {
			return nil, err
		}
		if all[strings.TrimSuffix(file, ".json")], err = c.Compile(file); err != nil {
			return nil, err
		}
	}
	return all, nil
})

// fits tells whether a message is what the schema of a name says.
func fits(name string, body []byte) error {
	all, err := schemas()
	if err != nil {
		return err
	}
	if all[name] == nil {
		return fmt.Errorf("there is no schema %q", name)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return all[name].Validate(v)
}

// checked holds all that is published to the schema of its topic.
type checked struct {
	message.Publisher
	*testing.T
	topics map[string]string // topic -> schema
}

func (c checked) Publish(topic string, messages ...*message.Message) error {
	for _, msg := range messages {
		if name := c.topics[topic]; name == "" {
			c.Errorf("something goes to %s", topic)
		} else if err := fits(name, msg.Payload); err != nil {
			c.Errorf("to %s goes %s: %v", topic, msg.Payload, err)
		}
	}
	return c.Publisher.Publish(topic, messages...)
}

// Each schema says which it is, where it is, and what its fields mean.
func TestSchemas(t *testing.T) {
	if _, err := schemas(); err != nil {
		t.Fatal(err)
	}
	files, _ := fs.Glob(saga.Schemas(), "*.json")
	for _, file := range files {
		text, err := fs.ReadFile(saga.Schemas(), file)
		if err != nil {
			t.Fatal(err)
		}
		var s struct {
			Schema      string `json:"$schema"`
			ID          string `json:"$id"`
			Title       string
			Description string
			Type        string
			Properties  map[string]struct{ Description string }
			Required    []string
		}
		if err := json.Unmarshal(text, &s); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if s.Schema != "https://json-schema.org/draft/2020-12/schema" || !strings.HasSuffix(s.ID, "/main/saga/schema/"+file) ||
			s.Title == "" || s.Description == "" || s.Type != "object" {
			t.Errorf("%s is %+v", file, s)
		}
		for name, p := range s.Properties {
			if p.Description == "" {
				t.Errorf("%s does not say what %q is", file, name)
			}
		}
		for _, name := range s.Required {
			if _, ok := s.Properties[name]; !ok {
				t.Errorf("%s requires %q, of which it says nothing", file, name)
			}
		}
	}
}

// sink keeps what is published.
type sink struct {
	mu   sync.Mutex
	sent map[string][]map[string]any // by topic
}

func (s *sink) Publish(topic string, messages ...*message.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, msg := range messages {
		var m map[string]any
		if err := json.Unmarshal(msg.Payload, &m); err != nil {
			return err
		}
		s.sent[topic] = append(s.sent[topic], m)
	}
	return nil
}

func (s *sink) Close() error { return nil }

// What a coordinator sends is what the schemas say, with every field that there
// is.
func TestWhatIsSentFitsItsSchema(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{sent: make(map[string][]map[string]any)}
		remote := func(name string) *saga.Step[bill] {
			return saga.Remote(name, "payments", func(b *bill) (int, error) { return b.Cents, nil },
				func(b *bill, id string) error { b.Charge = id; return nil }).UndoRemote().Timeout(time.Second).Retry(saga.Once())
		}
		s := saga.New("bill", saga.Parallel("Both", saga.Branch("x", remote("X").Lock(saga.Lock("account", func(*bill) string { return "7" }))), saga.Branch("y", remote("Y"))).
			Merge(func(*bill, []bill) error { return nil }))
		co, stop := run(t, saga.CoordinatorConfig{
			Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}, ReplyTo: "replies",
			Publisher: checked{out, t, map[string]string{"payments": "command", "notices": "notice"}},
		})
		client := co.Client()
		// answer replies to the commands of an execution until it has ended.
		answer := func(id string, outcome func(c map[string]any) string) {
			t.Helper()
			for n, begin := 0, time.Now(); time.Since(begin) < time.Hour; {
				synctest.Wait()
				out.mu.Lock()
				commands := out.sent["payments"]
				out.mu.Unlock()
				for ; n < len(commands); n++ {
					c := commands[n]
					if c["execution"] != id || outcome(c) == "" {
						continue
					}
					body := map[string]any{
						"waybill": 1, "reply": c["command"], "key": c["key"], "execution": id, "frame": c["frame"], "step": c["step"],
						"visit": c["visit"], "attempt": c["attempt"], "commit": c["commit"], "outcome": outcome(c), "result": "ch-1",
						"error": "Declined", "cause": "no money", "permanent": outcome(c) != "done",
					}
					data, err := json.Marshal(body)
					if err != nil {
						t.Fatal(err)
					}
					if err := fits("reply", data); err != nil {
						t.Errorf("%s: %v", data, err)
					}
					if err := co.HandleMessage(message.NewMessage("r", data)); err != nil {
						t.Error(err)
					}
				}
				x, err := client.Get(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				if x.Status.Ended() {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
			t.Fatalf("%s does not end", id)
		}
		start := func(id string) {
			t.Helper()
			if _, err := s.Start(t.Context(), client, id, bill{Cents: 7}, saga.NotifyTo("notices")); err != nil {
				t.Fatal(err)
			}
		}
		start("completed")
		answer("completed", func(map[string]any) string { return "done" })
		start("compensated")
		answer("compensated", func(c map[string]any) string {
			if c["command"] == "do" && c["step"] == "Y" {
				return "" // it times out, and is undone
			}
			return "done"
		})
		start("refused")
		answer("refused", func(c map[string]any) string {
			if c["command"] == "do" && c["step"] == "Y" {
				return "not done"
			}
			return "done"
		})
		start("terminated")
		if err := client.Terminate(t.Context(), "terminated", saga.Order{By: "ann", Note: "a test"}); err != nil {
			t.Fatal(err)
		}
		answer("terminated", func(map[string]any) string { return "" })
		synctest.Wait()

		seen := make(map[string]bool)
		for _, c := range out.sent["payments"] {
			seen[fmt.Sprint(c["command"], " ", c["outcome"])] = true
			if c["frame"] == nil {
				t.Errorf("a command without its frame: %v", c)
			}
		}
		for _, n := range out.sent["notices"] {
			seen[fmt.Sprint(n["status"])] = true
		}
		for _, want := range []string{"do <nil>", "undo done", "undo unknown", "completed", "compensated", "terminated"} {
			if !seen[want] {
				t.Errorf("nothing was %q, only %v", want, slices.Sorted(maps.Keys(seen)))
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// What a schema takes, whoever reads such messages takes: its fields one by one
// are left out, and given what they may and may not be.
func TestWhatFitsASchemaIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, memstore.New(memstore.Config{}))
		d.send = func() error { return errSent }
		s := saga.New("trip", saga.Receive("Wait", "go", func(*trip, any) error { return nil }))
		co, stop := run(t, saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}})
		if _, err := s.Start(t.Context(), co.Client(), "ride-1", trip{}); err != nil {
			t.Fatal(err)
		}
		// misfit tells what is wrong with a message's form, if something is: the
		// token and the execution need not be there.
		misfit := func(handle func(*message.Message) error) func([]byte) error {
			return func(body []byte) error {
				err := handle(message.NewMessage("m-1", body))
				if err == nil || errors.Is(err, saga.ErrToken) || errors.Is(err, store.ErrNotFound) || errors.Is(err, errSent) ||
					errors.Is(err, saga.ErrUnknownDefinition) || errors.Is(err, store.ErrExists) || strings.Contains(err.Error(), "is not done here") {
					return nil
				}
				return err
			}
		}
		engine, participant := misfit(co.HandleMessage), misfit(d.Handle)
		key := "ride-1/1/Both:1/Charge/2/"
		for name, tt := range map[string]struct {
			schema string
			base   map[string]any
			take   func([]byte) error
		}{
			"do": {"command", map[string]any{
				"waybill": 1, "command": "do", "key": key + "do", "execution": "ride-1", "definition": "fare", "frame": "Both:1", "step": "Charge",
				"visit": 2, "attempt": 1, "input": map[string]any{"Cents": 7}, "notAfter": time.Now().Add(time.Hour).UnixMilli(), "replyTo": "replies", "commit": "c",
			}, participant},
			"undo": {"command", map[string]any{
				"waybill": 1, "command": "undo", "key": key + "undo", "execution": "ride-1", "definition": "fare", "step": "Charge", "undoes": key + "do",
				"visit": 2, "attempt": 1, "outcome": "unknown", "input": 1, "notAfter": time.Now().Add(time.Hour).UnixMilli(), "replyTo": "replies", "commit": "c",
			}, participant},
			"reply": {"reply", map[string]any{
				"waybill": 1, "reply": "do", "key": "k", "execution": "ride-1", "frame": "Both:1", "step": "Charge", "visit": 2, "attempt": 1, "commit": "c",
				"outcome": "not done", "result": nil, "error": "Declined", "cause": "no money", "permanent": true,
			}, engine},
			"start": {"start", map[string]any{
				"waybill": 1, "start": "trip", "id": "ride-1", "input": map[string]any{"Log": []string{}}, "replyTo": "notices",
			}, engine},
			"complete":  {"complete", map[string]any{"waybill": 1, "complete": "token", "result": 1}, engine},
			"fail":      {"fail", map[string]any{"waybill": 1, "fail": "token", "error": "Refused", "cause": "too much"}, engine},
			"heartbeat": {"heartbeat", map[string]any{"waybill": 1, "heartbeat": "token"}, engine},
			"signal": {"signal", map[string]any{
				"waybill": 1, "signal": "other", "execution": "ride-1", "id": "s-1", "payload": map[string]any{},
			}, engine},
		} {
			taken, refused := 0, 0
			try := func(what string, m map[string]any) {
				body, err := json.Marshal(m)
				if err != nil {
					t.Fatal(err)
				}
				err = tt.take(body)
				switch why := fits(tt.schema, body); {
				case why == nil && err != nil:
					t.Errorf("%s, %s: %s fits its schema, and is refused: %v", name, what, body, err)
				case why == nil:
					taken++
				case err != nil:
					refused++
				case !lenient(what):
					t.Errorf("%s, %s: %s is taken, and does not fit its schema: %v", name, what, body, why)
				}
			}
			try("as it is", tt.base)
			for field := range tt.base {
				m := maps.Clone(tt.base)
				delete(m, field)
				try("without "+field, m)
				if field == "input" && tt.schema == "start" {
					continue // what that may be is the saga's
				}
				for what, value := range map[string]any{
					"null": nil, "empty": "", "text": "text", "zero": 0, "one": 1, "two": 2, "negative": -1, "object": map[string]any{}, "true": true,
					"long": strings.Repeat("x", 513), "control": "a\x00b",
				} {
					m := maps.Clone(tt.base)
					m[field] = value
					try(field+" "+what, m)
				}
			}
			m := maps.Clone(tt.base)
			m["added"] = "by a later release"
			try("with a field more", m)
			if taken < len(tt.base) || refused < len(tt.base) {
				t.Errorf("%s: %d forms are taken and %d refused: too few to say something", name, taken, refused)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// errSent stands for a reply that was sent.
var errSent = errors.New("sent")

// lenient tells what is taken though no schema says so: null stands for a field
// that is not there, and what a participant takes to be an execution is longer
// than any id is.
func lenient(what string) bool {
	return strings.HasSuffix(what, " null") || what == "execution long"
}
