package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
)

// commits counts those that the commands are of: each is sent anew.
var commits atomic.Int64

// command is a command that reserves a lamp, or gives it back.
func command(execution, verb string, attempt int, changes ...func(map[string]any)) map[string]any {
	key := execution + "/1//Reserve/1/"
	c := map[string]any{
		"waybill": 1, "command": verb, "key": key + verb, "execution": execution, "definition": "order", "step": "Reserve", "visit": 1,
		"attempt": attempt, "input": reservation{"lamp", 1}, "notAfter": time.Now().Add(time.Minute).UnixMilli(), "replyTo": replies, "commit": fmt.Sprint("c", commits.Add(1)),
	}
	if verb == "undo" {
		c["undoes"], c["outcome"] = key+"do", "unknown"
	}
	for _, change := range changes {
		change(c)
	}
	return c
}

func (d *dialogue) send(c map[string]any) {
	d.Helper()
	body, err := json.Marshal(c)
	if err != nil {
		d.Fatal(err)
	}
	if v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body)); err != nil || d.command.Validate(v) != nil {
		d.Errorf("%s is no command: %v, %v", body, err, d.command.Validate(v))
	}
	d.sendBody(groupOf(c), fmt.Sprint(c["key"], "/", c["attempt"]), body)
}

// groupOf is the group of a command, and of its reply: the execution, or its branch,
// as far as SQS takes its name.
func groupOf(c map[string]any) string {
	group := fmt.Sprint(c["execution"])
	if c["frame"] != nil {
		group += fmt.Sprint("/", c["frame"])
	}
	if len(group) <= 128 && !strings.ContainsFunc(group, func(r rune) bool { return r < '!' || r > '~' }) {
		return group
	}
	sum := sha256.Sum256([]byte(group))
	return hex.EncodeToString(sum[:16])
}

// sendBody sends a message, in a group where its queue is FIFO, which takes it for
// the repeat of no other.
func (d *dialogue) sendBody(group, id string, body []byte) {
	d.Helper()
	msg := message.NewMessage(id, body)
	msg.Metadata.Set(queue.KeyOrder, group)
	msg.Metadata.Set(queue.KeyDeduplication, fmt.Sprint(commits.Add(1)))
	if err := d.publisher.Publish(warehouse, msg); err != nil {
		d.Fatal(err)
	}
}

// hear awaits the reply to a command.
func (d *dialogue) hear(c map[string]any) string {
	d.Helper()
	var msg *message.Message
	select {
	case msg = <-d.replies:
		msg.Ack()
	case <-time.After(30 * time.Second):
		d.Fatalf("no reply to %v", c)
	}
	return d.read(msg, c)
}

// read holds a message to be the reply to a command, by the schema, and tells what
// it says.
func (d *dialogue) read(msg *message.Message, c map[string]any) string {
	d.Helper()
	if group := msg.Metadata.Get(queue.KeyGroup); d.place.kind == fifo && group != groupOf(c) || d.place.kind == standard && group != "" {
		d.Errorf("the reply to %v is in group %q", c, group)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(msg.Payload))
	if err != nil {
		d.Fatal(err)
	}
	if err := d.reply.Validate(v); err != nil {
		d.Errorf("%s is no reply: %v", msg.Payload, err)
	}
	var r struct {
		Reply, Key, Execution, Step, Commit string
		Visit, Attempt                      int
		Outcome, Error, Cause               string
		Result                              *reserved
		Permanent                           bool
	}
	if err := json.Unmarshal(msg.Payload, &r); err != nil {
		d.Error(err)
	}
	if r.Reply != c["command"] || r.Key != c["key"] || r.Execution != c["execution"] || r.Step != c["step"] || r.Commit != c["commit"] ||
		r.Visit != c["visit"] || r.Attempt != c["attempt"] {
		d.Errorf("%s is no reply to %v", msg.Payload, c)
	}
	if want := fmt.Sprint(r.Key, "/", r.Attempt, "/", strings.ReplaceAll(r.Outcome, " ", "-")); msg.UUID != want {
		d.Errorf("the reply has the id %q, want %q", msg.UUID, want)
	}
	said := r.Outcome
	if r.Permanent {
		said += " for good"
	}
	if r.Result != nil {
		said += " " + r.Result.Reservation
	}
	return strings.TrimSuffix(said+": "+strings.TrimPrefix(r.Error+", "+r.Cause, ", "), ": ")
}

// expect sends a command, and compares the reply.
func (d *dialogue) expect(want string, c map[string]any) {
	d.Helper()
	d.send(c)
	if got := d.hear(c); got != want {
		d.Errorf("%s %d of %s is %q, want %q", c["command"], c["attempt"], c["execution"], got, want)
	}
}

// There is one lamp. What is said of it shows what was done.
func TestParticipant(t *testing.T) {
	t.Parallel()
	const (
		soldOut = "not done for good: SoldOut, there are no 1 of lamp left"
		refused = "unknown for good: the action came after its own undo, and was not begun"
		late    = "not done: States.Timeout, it came after its time, by this clock"
	)
	late1 := func(c map[string]any) { c["notAfter"] = time.Now().Add(-time.Second).UnixMilli() }
	everywhere(t, both(), func(t *testing.T, s *site) {
		d := s.dialogue(visibility)
		p := s.start("do = warehouse.reserve\ndef reserve(db, key, order): return {do(db, key, order)[\"Reservation\"]} if \"Bug\" in order else do(db, key, order)\nwarehouse.reserve = reserve")
		// It is done once, however often it is asked for; and so it is undone.
		d.expect("done r-1", command("a", "do", 1))
		d.expect("done r-1", command("a", "do", 1))
		d.expect("done r-1", command("a", "do", 3))
		d.expect("done r-1", command("a", "do", 2))
		d.expect(soldOut, command("b", "do", 2))
		// Another saga's execution of the same id has keys of its own.
		d.expect(soldOut, command("a", "do", 1, func(c map[string]any) { c["definition"] = "loan" }))
		d.expect("done", command("a", "undo", 1, func(c map[string]any) { c["outcome"] = "done" }))
		d.expect("done", command("a", "undo", 1))
		d.expect("done", command("a", "undo", 2))
		d.expect("done r-1", command("a", "do", 4))
		// What was not done is so for its attempt, and a lower one is refused.
		d.expect(soldOut, command("b", "do", 2))
		d.expect("unknown: a later attempt has been seen", command("b", "do", 1))
		d.expect("done r-1", command("b", "do", 3))
		d.expect("done r-1", command("b", "do", 1))
		// The undo of what never came has nothing to undo, and closes the door.
		d.expect("done", command("c", "undo", 1))
		d.expect(refused, command("c", "do", 1))
		d.expect(refused, command("c", "do", 2))
		d.expect("done", command("c", "undo", 2))
		// So has that of what was refused.
		d.expect(soldOut, command("d", "do", 1))
		d.expect("done", command("d", "undo", 1))
		d.expect(refused, command("d", "do", 2))
		// What comes late is not begun; the next attempt may be.
		d.expect("done", command("b", "undo", 1))
		d.expect(late, command("e", "do", 1, late1))
		d.expect("done r-1", command("e", "do", 2))
		d.expect(late, command("e", "undo", 1, late1))
		d.expect("done", command("e", "undo", 2))
		d.expect("done r-1", command("f", "do", 1))
		// A bug is a failure like others, and takes its changes back.
		d.expect("done", command("f", "undo", 1))
		d.expect("not done: KeyError, 'Count'", command("g", "do", 1, func(c map[string]any) { c["input"] = map[string]any{} }))
		d.expect("not done: TypeError, Object of type set is not JSON serializable", command("g", "do", 2, func(c map[string]any) {
			c["input"] = map[string]any{"Item": "lamp", "Count": 1, "Bug": true}
		}))
		d.expect("done r-1", command("g", "do", 3))
		// A reply finds its group, whatever the execution is called.
		for _, id := range []string{"h", "Größe 1", strings.Repeat("x", 127)} {
			d.expect(soldOut, command(id, "do", 1))
			d.expect(soldOut, command(id, "do", 1, func(c map[string]any) { c["frame"], c["key"] = "P:0", id+"/1/P:0/Reserve/1/do" }))
		}
		if err := p.end(); err != nil {
			t.Error(err)
		}
	})
}

// What is no command goes to the dead-letter queue with its reason, and those
// behind it are handled.
func TestParticipantPoison(t *testing.T) {
	t.Parallel()
	set := func(field string, value any) func(map[string]any) {
		return func(c map[string]any) {
			if c[field] = value; value == nil {
				delete(c, field)
			}
		}
	}
	want := map[string]string{ // by the message's id
		"garbage": "it is no JSON: Expecting value: line 1 column 1 (char 0)",
		"list":    `want a JSON object with "waybill": 1, the version of the format`,
		"deep":    "it is no JSON: ",
	}
	bodies := map[string][]byte{"garbage": []byte("\x00{"), "list": []byte("[1]"), "deep": bytes.Repeat([]byte("["), 100_000)}
	for id, change := range map[string]struct {
		change func(map[string]any)
		want   string
	}{
		"version":  {set("waybill", 2), `want a JSON object with "waybill": 1`},
		"verb":     {set("command", "eat"), `"command" is neither "do" nor "undo"`},
		"step":     {set("step", "Ship"), `to do the step "Ship" is not for this service`},
		"no key":   {set("key", nil), `"key" is no text of 1 to 4096 characters`},
		"long key": {set("key", strings.Repeat("k", 4097)), `"key" is no text of 1 to 4096 characters`},
		"control":  {set("key", "a\x00b"), "or has control characters"},
		"attempt":  {set("attempt", 0), `"attempt" is no number of 1 or more`},
		"fraction": {set("attempt", 1.5), `"attempt" is no number of 1 or more`},
		"truth":    {set("visit", true), `"visit" is no number of 1 or more`},
		"huge":     {set("attempt", 1e18), `"attempt" is no number of 1 or more`},
		"input":    {set("input", nil), `"input" is missing`},
		"frame":    {set("frame", 7), `"frame" is no text`},
		"commit":   {set("commit", []int{}), `"commit" is no text`},
		"stranger": {set("replyTo", "elsewhere"), `"replyTo" is "elsewhere", and replies go to replies`},
	} {
		body, err := json.Marshal(command("x", "do", 1, change.change))
		if err != nil {
			t.Fatal(err)
		}
		bodies[id], want[id] = body, change.want
	}
	everywhere(t, both(), func(t *testing.T, s *site) {
		d := s.dialogue(visibility)
		for id, body := range bodies {
			d.sendBody(strings.ReplaceAll(id, " ", "-"), id, body)
		}
		s.start("")
		d.expect("done r-1", command("a", "do", 1))
		admin, err := queue.NewAdmin(queue.AdminConfig{AWS: s.aws, Endpoints: s.endpoints})
		if err != nil {
			t.Fatal(err)
		}
		letters, err := dlq.New(dlq.Config{Queues: admin})
		if err != nil {
			t.Fatal(err)
		}
		left := maps.Clone(want)
		for end := time.Now().Add(30 * time.Second); len(left) > 0 && time.Now().Before(end); {
			found, err := letters.Peek(t.Context(), "warehouse-dlq"+s.place.kind, 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range found {
				if left[l.ID] == "" {
					continue
				}
				f := l.Failure
				if f == nil || l.Problem != nil && !bytes.Equal(l.Body, bodies[l.ID]) || f.Reason != queue.ReasonPermanent || !strings.Contains(f.Message, left[l.ID]) ||
					f.Source != "sqs://"+s.place.namespace+"-warehouse"+s.place.kind || f.ReceiveCount < 1 || f.LastFailure.IsZero() || !bytes.Equal(l.Body, bodies[l.ID]) {
					t.Errorf("%s is there with %+v, %v; want %q", l.ID, f, l.Problem, left[l.ID])
				}
				if group := l.Metadata.Get(queue.KeyGroup); s.place.kind == fifo && group != strings.ReplaceAll(l.ID, " ", "-") {
					t.Errorf("%s is there in group %q", l.ID, group)
				}
				delete(left, l.ID)
			}
		}
		if len(left) > 0 {
			t.Errorf("not in the dead-letter queue: %v", left)
		}
	})
}

// A process that is killed leaves no half of anything: the command comes again, and
// is done then, or answered with what was done.
func TestParticipantKilled(t *testing.T) {
	t.Parallel()
	for name, spoiler := range map[string]string{
		"before the record": "participant.Participant.keep = die",
		"before the commit": "do = warehouse.reserve\ndef reserve(*args): do(*args); die()\nwarehouse.reserve = reserve",
		"before the reply":  "participant.Participant.reply = die",
		"before the delete": "reply = participant.Participant.reply\ndef replied(*args): reply(*args); die()\nparticipant.Participant.reply = replied",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everywhere(t, both(), func(t *testing.T, s *site) {
				d := s.dialogue(visibility)
				p := s.start(spoiler)
				c := command("a", "do", 1)
				d.send(c)
				if err := <-p.exited; err == nil || !strings.Contains(err.Error(), "signal: killed") {
					t.Fatalf("the process has not been killed: %v", err)
				}
				s.start("")
				// On FIFO the reply that is sent again is a repeat.
				for range map[bool]int{false: 1, true: 2}[name == "before the delete" && s.place.kind == standard] {
					if got := d.hear(c); got != "done r-1" {
						t.Errorf("it is %s", got)
					}
				}
				// The lamp was taken once, and is there once when it is given back.
				d.expect("done", command("a", "undo", 1))
				d.expect("done r-1", command("b", "do", 1))
				d.expect("not done for good: SoldOut, there are no 1 of lamp left", command("c", "do", 1))
			})
		})
	}
}

// On FIFO a command that fails holds those behind it in its group, and no other.
func TestParticipantHoldsAGroup(t *testing.T) {
	t.Parallel()
	everywhere(t, []string{fifo}, func(t *testing.T, s *site) {
		d := s.dialogue(visibility)
		wait, sold, other := command("a", "do", 1), command("a", "do", 1, func(c map[string]any) { c["key"] = "a/1//Reserve/2/do" }), command("b", "undo", 1)
		for _, c := range []map[string]any{wait, sold, other} { // which are there when the process comes
			d.send(c)
		}
		s.start("settle, failed = participant.Participant.settle, []\ndef once(self, c):\n if c[\"command\"] == \"do\" and not failed:\n" +
			"  failed.append(c); raise OSError(\"the disk\")\n return settle(self, c)\nparticipant.Participant.settle = once")
		for _, want := range []struct {
			c    map[string]any
			said string
		}{{other, "done"}, {wait, "done r-1"}, {sold, "not done for good: SoldOut, there are no 1 of lamp left"}} {
			if got := d.hear(want.c); got != want.said {
				t.Errorf("%s is %q, want %q", want.c["key"], got, want.said)
			}
		}
	})
}

// Two processes that get the same command, and its undo, do each once.
func TestParticipantsShareTheirCommands(t *testing.T) {
	t.Parallel()
	everywhere(t, []string{standard}, func(t *testing.T, s *site) {
		d := s.dialogue(visibility)
		for range 2 {
			s.start("")
		}
		for i := range 5 {
			do, undo := command(fmt.Sprint("a", i), "do", 1), command(fmt.Sprint("a", i), "undo", 1)
			for range 3 {
				d.send(do)
			}
			for range 3 {
				if got := d.hear(do); got != "done r-1" {
					t.Errorf("it is %s", got)
				}
			}
			for range 3 {
				d.send(undo)
			}
			for range 3 {
				if got := d.hear(undo); got != "done" {
					t.Errorf("the undo is %s", got)
				}
			}
		}
		d.expect("done r-1", command("b", "do", 1))
		d.expect("not done for good: SoldOut, there are no 1 of lamp left", command("c", "do", 1))
	})
}

// On SIGTERM a process ends what it is at, and gives back the rest at once.
func TestParticipantDrains(t *testing.T) {
	t.Parallel()
	everywhere(t, both(), func(t *testing.T, s *site) {
		d := s.dialogue(time.Minute)
		var all []map[string]any
		for i := range 5 {
			c := command(fmt.Sprint("a", i), "do", 1)
			all = append(all, c)
			d.send(c)
		}
		p := s.start("do = warehouse.reserve\ndef reserve(*args): os.kill(os.getpid(), signal.SIGTERM); return do(*args)\nwarehouse.reserve = reserve")
		if err := <-p.exited; err != nil {
			t.Errorf("it ended with %v", err)
		}
		msg := <-d.replies // to one of them
		msg.Ack()
		s.start("")
		for range all[1:] {
			select {
			case msg := <-d.replies:
				msg.Ack()
			case <-time.After(30 * time.Second):
				t.Fatal("a command is lost")
			}
		}
	})
}
